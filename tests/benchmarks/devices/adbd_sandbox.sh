#!/bin/sh
# adbd_sandbox.sh ROOT: two real adbd with emulated arm64 cores, in namespaces of their own.
#
# They listen on every address without asking who is there, so they get a network of their own; the
# emulator is registered for this user namespace only (Linux 6.7 or newer). ROOT: make_adbd_root.sh.
# Their ports lie beyond those where adb looks for emulators, which it would list once more.
# The second phone has /data of its own, ROOT/second. It is plugged in again a second after it was
# killed, unless there is ROOT/second/unplugged.
set -eu
export ROOT="$1"
exec unshare --user --map-root-user --net --mount --pid --fork --kill-child sh -eu -c '
  ip link set lo up
  mount -t proc proc "$ROOT/proc"
  mount -t sysfs sysfs "$ROOT/sys"
  mount --rbind /dev "$ROOT/dev"
  mount -t binfmt_misc binfmt_misc "$ROOT/proc/sys/fs/binfmt_misc"
  magic="\\x7fELF\\x02\\x01\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x02\\x00\\xb7\\x00"
  mask="\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\x00\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xfe\\xff\\xff\\xff"
  printf "%s" ":arm64:M::$magic:$mask:$ROOT/usr/bin/qemu-aarch64:F" \
    >"$ROOT/proc/sys/fs/binfmt_misc/register"
  export ADBD="chroot $ROOT /usr/bin/busybox env -i PATH=/data/local/bin:/system/bin:/bin HOME=/ \
    TMPDIR=/data/local/tmp QEMU_CPU=cortex-a76"
  mkdir -p "$ROOT/second/local/tmp" "$ROOT/second/local/bin"
  while :; do
    [ -e "$ROOT/second/unplugged" ] || unshare --mount sh -c "
      mount --bind $ROOT/second $ROOT/data
      exec $ADBD ADBD_PORT=5702 /usr/lib/android-sdk/platform-tools/adbd" || true
    sleep 1
  done &
  exec $ADBD ADBD_PORT=5701 /usr/lib/android-sdk/platform-tools/adbd
'
