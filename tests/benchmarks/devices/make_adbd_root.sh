#!/bin/sh
# Make a small root file system with a real adbd and an arm64 emulator, for test_android.py.
#
#   sh make_adbd_root.sh FOLDER        then   EDGESR_ADBD_ROOT=FOLDER pytest ...
#
# Debian packages, some 80 MB, downloaded with an apt configuration of its own: nothing is installed.
set -eu
mkdir -p "$1/.apt/lists/partial" "$1/.apt/cache/archives/partial" "$1/.debs"
root=$(cd "$1" && pwd)
cat >"$root/.apt/conf" <<END
Dir::State::lists "$root/.apt/lists";
Dir::Cache "$root/.apt/cache";
Dir::Etc::sourcelist "$root/.apt/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::State::status "/dev/null";
END
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
  "http://deb.debian.org/debian trixie main" >"$root/.apt/sources.list"
export APT_CONFIG="$root/.apt/conf"
apt-get update -q
cd "$root/.debs"
apt-get download -q adbd android-libbase android-libboringssl android-libcutils android-liblog \
  libbrotli1 libc6 libgcc-s1 liblz4-1 libprotobuf32t64 libstdc++6 libsystemd0 libzstd1 zlib1g libcap2 \
  libgcrypt20 libgpg-error0 liblzma5 libxxhash0 libfmt10 busybox-static qemu-user
mkdir -p "$root/usr/bin" "$root/usr/lib" "$root/usr/lib64" "$root/usr/sbin"
for name in bin lib lib64 sbin; do ln -sfn "usr/$name" "$root/$name"; done
for package in *.deb; do
  case $package in
    qemu-user*)
      dpkg-deb --fsys-tarfile "$package" | tar -x -C "$root" ./usr/bin/qemu-aarch64 ;;
    *) dpkg-deb -x "$package" "$root" ;;
  esac
done
rm -rf "$root/.debs" "$root/.apt" "$root/usr/share"
mkdir -p "$root/data/local/tmp" "$root/data/local/bin" "$root/proc" "$root/sys" "$root/dev" \
  "$root/system" "$root/tmp"
ln -sfn ../usr/bin "$root/system/bin"
for name in sh ls cat rm mkdir chmod taskset printf echo sleep true md5sum; do
  ln -sfn busybox "$root/usr/bin/$name"
done
echo "$root is ready"
