#!/usr/bin/env bash
# Library: hatchling 1.33.0, on an extra that takes in another extra of its own project under a marker.
# Expected: gpu = ["example[jetson]; 'tegra' in platform_release"] brings what `jetson` holds on a Jetson alone, as setuptools 84
#           writes it down.
# Seen:     hatchling replaces the line by what `jetson` holds and drops the marker: everybody gets it, and two such lines
#           with unequal versions can never be installed together.
# For us:   requirements under a marker are written out in each extra (pyproject.toml, `tensorrt`).
set -euo pipefail
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
python3 -m venv "$room/venv"
pip=("$room/venv/bin/pip" --quiet --disable-pip-version-check)
"${pip[@]}" install hatchling==1.33.0 setuptools==84.2.1
mkdir "$room/example"
touch "$room/example/example.py"
about() {
  printf '[build-system]\nrequires = ["%s"]\nbuild-backend = "%s"\n[project]\nname = "example"\nversion = "1"\n' "$1" "$2"
  printf '[project.optional-dependencies]\njetson = ["tomli<2"]\n'
  printf "gpu = [\"example[jetson]; 'tegra' in platform_release\"]\n"
}
for backend in "hatchling hatchling.build" "setuptools setuptools.build_meta"; do
  read -r name module <<<"$backend"
  about "$name" "$module" > "$room/example/pyproject.toml"
  "${pip[@]}" wheel --no-deps --no-build-isolation --wheel-dir "$room/$name" "$room/example"
  echo "$name:"
  unzip -p "$room/$name"/*.whl '*/METADATA' | grep Requires-Dist | grep gpu | tee "$room/$name.txt"
done
grep -q tegra "$room/setuptools.txt" || { echo "behaviour of setuptools has changed"; exit 1; }
if grep -q tegra "$room/hatchling.txt"; then echo "behaviour has changed"; exit 1; fi
echo "as found: the marker is gone"
