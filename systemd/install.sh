#!/usr/bin/env bash
# Installs dferstream as a service: program, units, user, udev rule, a first settings file. May be run again at any time.
set -euo pipefail

usage() {
  cat <<'USAGE'
Usage: install.sh [OPTION]...

  --prefix DIR     where the program goes (default /opt/dferstream)
  --source NAME    also write /etc/dferstream/NAME.toml if it is not there (default cam0)
  --nvidia         allow NVIDIA devices (drop-in nvidia.conf) and install the extra `tensorrt`
  --network        allow network cameras and subscribers on private addresses (drop-in network.conf)
  --python PYTHON  interpreter for the program's environment (default python3)
  --root DIR       install into an image's root instead of this machine: files only, nothing is started
  --files-only     units, user, rule and settings, but no program
  --uninstall      remove what was installed; settings in /etc/dferstream stay
  --purge          with --uninstall: remove settings, engines and caches too
  --dry-run        print what would be done, do nothing
  --help
USAGE
}

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
prefix=/opt/dferstream source_name=cam0 python=python3 root=""
nvidia=false network=false files_only=false uninstall=false purge=false dry_run=false

die() { echo "install.sh: $*" >&2; exit 2; }

while [ $# -gt 0 ]; do
  case "$1" in
    --prefix|--source|--python|--root)
      [ $# -ge 2 ] || die "$1 needs a value"
      case "$1" in
        --prefix) prefix="$2" ;;
        --source) source_name="$2" ;;
        --python) python="$2" ;;
        --root) root="${2%/}" ;;
      esac
      shift 2 ;;
    --nvidia) nvidia=true; shift ;;
    --network) network=true; shift ;;
    --files-only) files_only=true; shift ;;
    --uninstall) uninstall=true; shift ;;
    --purge) purge=true; shift ;;
    --dry-run) dry_run=true; shift ;;
    --help|-h) usage; exit 0 ;;
    *) usage >&2; die "unknown option $1" ;;
  esac
done

[[ "$prefix" = /* ]] || die "--prefix must be an absolute path, not $prefix"
[[ "$prefix" =~ ^[A-Za-z0-9/_.-]+$ ]] || die "--prefix may hold letters, digits and / _ . - only"
[[ "$source_name" =~ ^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$ ]] || die "--source must be letters, digits, '_', '.' or '-', not $source_name"
if [ -z "$root" ] && [ "$dry_run" = false ] && [ "$(id -u)" != 0 ]; then
  die "run it as root (sudo $0), or with --dry-run to see what it would do"
fi

units="$root/etc/systemd/system"
sysusers="$root/usr/lib/sysusers.d"
rules="$root/usr/lib/udev/rules.d"
settings="$root/etc/dferstream"
docs="$root$prefix/share/doc/dferstream"
tegra_release="${DFERSTREAM_TEGRA_RELEASE:-/etc/nv_tegra_release}"

run() {
  if [ "$dry_run" = true ]; then printf '%q ' "$@"; echo; else "$@"; fi
}

# On this machine only, and only where the program is there; an image or a container has no running systemd.
live() {
  [ -z "$root" ] || return 0
  command -v "$1" >/dev/null || return 0
  run "$@"
}

# put SOURCE TARGET: copies with the prefix filled in, and leaves an equal file alone.
put() {
  local wanted; wanted="$(mktemp)"
  sed "s#/opt/dferstream#$prefix#g" "$1" > "$wanted"
  if [ -f "$2" ] && cmp -s "$wanted" "$2"; then rm -f "$wanted"; return; fi
  if [ "$dry_run" = true ]; then
    echo "install $2"
  else
    mkdir -p "$(dirname "$2")"
    # A rename, so that Ctrl-C leaves the old file or the new one.
    install -m 0644 "$wanted" "$2.new"
    mv -f "$2.new" "$2"
    echo "installed $2"
  fi
  rm -f "$wanted"
}

take() { if [ -e "$1" ]; then run rm -rf -- "$1"; fi; }

if [ "$uninstall" = true ]; then
  if [ -z "$root" ] && [ -d /run/systemd/system ]; then
    live systemctl disable --now dferstream.target dferstream-prometheus.service 'dferstream@*.service' || true
    live systemctl stop 'dferstream@*.service' 'dferstream-build@*.service' || true
  fi
  take "$units/dferstream@.service"
  take "$units/dferstream@.service.d"
  take "$units/dferstream-build@.service"
  take "$units/dferstream-build@.service.d"
  take "$units/dferstream.target"
  take "$units/dferstream-prometheus.service"
  take "$units/dferstream-prometheus.service.d"
  take "$sysusers/dferstream.conf"
  take "$rules/71-dferstream.rules"
  # Only a folder that this script made: it carries an environment's mark.
  if [ -f "$root$prefix/pyvenv.cfg" ]; then take "$root$prefix"; else take "$docs"; fi
  if [ "$purge" = true ]; then
    take "$settings"
    take "$root/var/lib/dferstream"
    take "$root/var/cache/dferstream"
  fi
  if [ -z "$root" ] && [ -d /run/systemd/system ]; then live systemctl daemon-reload; fi
  exit 0
fi

if [ "$files_only" = false ] && [ -z "$root" ]; then
  # JetPack's TensorRT is the system's: an environment sees it only if it is made so.
  seen=(); if [ "$nvidia" = true ] && [ -e "$tegra_release" ]; then seen=(--system-site-packages); fi
  extra="[prometheus]"; if [ "$nvidia" = true ]; then extra="[prometheus,tensorrt]"; fi
  if [ ! -x "$prefix/bin/python" ]; then run "$python" -m venv "${seen[@]}" "$prefix"; fi
  run "$prefix/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade "$here/..$extra"
fi

put "$here/dferstream@.service" "$units/dferstream@.service"
put "$here/dferstream-build@.service" "$units/dferstream-build@.service"
put "$here/dferstream.target" "$units/dferstream.target"
put "$here/dferstream-prometheus.service" "$units/dferstream-prometheus.service"
put "$here/dferstream.sysusers" "$sysusers/dferstream.conf"
put "$here/71-dferstream.rules" "$rules/71-dferstream.rules"
put "$here/README.md" "$docs/README.md"
if [ "$nvidia" = true ]; then
  put "$here/nvidia.conf" "$units/dferstream@.service.d/nvidia.conf"
  put "$here/nvidia.conf" "$units/dferstream-build@.service.d/nvidia.conf"
fi
if [ "$network" = true ]; then put "$here/network.conf" "$units/dferstream@.service.d/network.conf"; fi
if [ ! -e "$settings/$source_name.toml" ]; then put "$here/dferstream.toml" "$settings/$source_name.toml"; fi

live systemd-sysusers
# Settings may hold a camera's password: for root and the daemon alone.
if [ -z "$root" ] && getent group dferstream >/dev/null; then
  run chgrp -R dferstream "$settings"
  run chmod 0750 "$settings"
  run chmod 0640 "$settings/$source_name.toml"
fi
if [ -z "$root" ] && [ -d /run/systemd/system ]; then
  live systemctl daemon-reload
  live udevadm control --reload
  live udevadm trigger --subsystem-match=video4linux
fi
echo "Next: edit $settings/$source_name.toml, then systemctl enable --now dferstream@$source_name"
