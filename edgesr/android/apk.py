"""An APK from compiled classes, resources and libraries, by the programs the SDK is made of.

aapt2 makes resources, ProGuard drops the unused nine tenths of Kotlin's library, dx makes Android's
byte code, apksigner signs. Libraries lie uncompressed at multiples of 16 KB, so that they are
mapped straight from the APK on phones with such pages.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgesr.android.kotlin import java, stdlib
from edgesr.android.native import PAGE
from edgesr.android.parts import part
from edgesr.android.sources import ANDROID_JAR, demo_folder, digest
from edgesr.errors import BadFileError, EnvironmentLimitError
from edgesr.export.compile.environments import cache_folder

PACKAGE = "dev.edgesr.app"
LEAST_SDK, TARGET_SDK = 26, 34
KEY_ALIAS, KEY_WORD = "edgesr", "android"
"""Of a key made on first use: it proves that two builds come from the same machine, no more."""

_MOMENT = (2020, 1, 1, 0, 0, 0)
"""Time of every file in the APK: the same sources give the same bytes."""


def link_resources(work: Path, version: str) -> Path:
    """`base.apk` with manifest and resources, and `R.java` in `work/gen`."""
    app = demo_folder() / "app" / "src" / "main"
    aapt2 = str(part("aapt2", "aapt2"))
    framework = part("framework", "framework-res.apk")
    # Gradle names the package outside the manifest and wants none in it; aapt2 alone wants one.
    manifest = work / "AndroidManifest.xml"
    text = (app / "AndroidManifest.xml").read_text()
    manifest.write_text(text.replace("<manifest ", f'<manifest package="{PACKAGE}" ', 1))
    run([aapt2, "compile", "--dir", str(app / "res"), "-o", str(work / "res.zip")], "aapt2")
    run(
        [
            aapt2, "link", "-I", str(framework), "--manifest", str(manifest),
            "--min-sdk-version", str(LEAST_SDK), "--target-sdk-version", str(TARGET_SDK),
            "--version-code", "1", "--version-name", version, "--java", str(work / "gen"), "-o",
            str(work / "base.apk"), str(work / "res.zip"),
        ],
        "aapt2",
    )  # fmt: skip
    return work / "base.apk"


def compile_resource_numbers(work: Path) -> Path:
    """A folder with the class `R`: kept as long as the numbers stay, so that Kotlin's does, too."""
    source = work / "gen" / PACKAGE.replace(".", "/") / "R.java"
    folder = cache_folder() / "android" / "classes" / f"r-{digest([source])}"
    if not folder.is_dir():
        draft = work / "r"
        javac = str(Path(java()).resolve().with_name("javac"))
        options = ["-nowarn", "-source", "8", "-target", "8", "-d", str(draft)]
        stubs = ["-bootclasspath", str(part(ANDROID_JAR))]
        run([javac, *options, *stubs, str(source)], "javac")
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(draft, folder, dirs_exist_ok=True)
    return folder


def make_dex(classes: Sequence[Path], work: Path) -> Path:
    """`classes.dex` of class folders and what they use of Kotlin's library."""
    shrunk, rules = work / "app.jar", work / "rules.pro"
    keep = "!META-INF/**,!module-info.class,**.class"
    rules.write_text(
        "\n".join(
            [
                *(f'-injars "{folder}"(**.class)' for folder in classes),
                f'-injars "{stdlib()}"({keep})',
                f'-libraryjars "{part(ANDROID_JAR)}"',
                f'-outjars "{shrunk}"',
                "-dontoptimize", "-dontobfuscate", "-dontnote",
                "-dontwarn kotlin.**,org.jetbrains.annotations.**",
                "-target 1.8", "-keep class dev.edgesr.** { *; }", "-keepattributes *",
            ]
        )
    )  # fmt: skip
    run([java(), "-jar", str(part("proguard", "proguard.jar")), f"@{rules}"], "ProGuard")
    dx = part("dx", "com.android.dx-*.jar")
    run(
        [java(), "-cp", str(dx), "com.android.dx.command.Main", "--dex",
         f"--min-sdk-version={LEAST_SDK}", f"--output={work / 'classes.dex'}", str(shrunk)],
        "dx",
    )  # fmt: skip
    return work / "classes.dex"


def pack(base: Path, out: Path, files: Mapping[str, bytes]) -> None:
    """`base` with more files in it, aligned as Android wants them."""
    with zipfile.ZipFile(base) as source, out.open("wb") as stream:
        entries = {
            i.filename: (source.read(i), i.compress_type == zipfile.ZIP_STORED)
            for i in source.infolist() if not i.is_dir()
        }  # fmt: skip
        for name, content in files.items():
            entries[name] = (content, name.endswith((".so", ".onnx", ".tflite", ".png")))
        with zipfile.ZipFile(stream, "w") as target:
            for name in sorted(entries):
                content, stored = entries[name]
                info = zipfile.ZipInfo(name, _MOMENT)
                info.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
                info.external_attr = 0o644 << 16
                if stored:
                    info.extra = _padding(stream.tell() + 30 + len(name.encode()), name)
                target.writestr(info, content)


def _padding(start: int, name: str) -> bytes:
    """An extra field (Android's own, 0xd935) after which the content is aligned."""
    alignment = PAGE if name.endswith(".so") else 4
    pad = -(start + 6) % alignment
    return struct.pack("<HHH", 0xD935, 2 + pad, alignment) + b"\0" * pad


def sign(draft: Path, out: Path, key: Path) -> None:
    """Sign, with a key that is made where there is none."""
    if not key.is_file():
        key.parent.mkdir(parents=True, exist_ok=True)
        keytool = str(Path(java()).resolve().with_name("keytool"))
        run(
            [keytool, "-genkeypair", "-keystore", str(key), "-storepass", KEY_WORD, "-keypass",
             KEY_WORD, "-alias", KEY_ALIAS, "-keyalg", "RSA", "-keysize", "2048", "-validity",
             "10000", "-dname", "CN=edgesr"],
            "keytool",
        )  # fmt: skip
    run(
        [*_apksigner(), "sign", "--ks", str(key), "--ks-pass", f"pass:{KEY_WORD}",
         "--min-sdk-version", str(LEAST_SDK), "--out", str(out), str(draft)],
        "apksigner",
    )  # fmt: skip


@dataclass(frozen=True)
class Checked:
    """What `check` found in an APK."""

    schemes: tuple[str, ...]
    """Signature schemes that verify."""
    package: str
    least_sdk: int
    target_sdk: int
    abis: tuple[str, ...]
    activities: tuple[str, ...]
    classes: int


def check(path: Path) -> Checked:
    """Verify signature, manifest, alignment, and that every activity is among the classes.

    Raises:
        BadFileError: something is not as a phone wants it.
    """
    said = run([*_apksigner(), "verify", "--verbose", str(path)], "apksigner")
    schemes = tuple(
        line.split()[2]
        for line in said.splitlines()
        if line.startswith("Verified using") and line.endswith("true")
    )
    aapt2 = str(part("aapt2", "aapt2"))
    badging = run([aapt2, "dump", "badging", str(path)], "aapt2")
    tree = run([aapt2, "dump", "xmltree", "--file", "AndroidManifest.xml", str(path)], "aapt2")
    names = [line.split('"')[1] for line in tree.splitlines() if ":name(" in line and '"' in line]
    activities = tuple(name for name in names if name.startswith(f"{PACKAGE}."))
    with zipfile.ZipFile(path) as apk:
        classes = read_classes(apk.read("classes.dex"))
        _check_alignment(apk, path)
    missing = [name for name in activities if f"L{name.replace('.', '/')};" not in classes]
    if missing or not activities:
        raise BadFileError(f"{path.name} lacks the code of {', '.join(missing) or 'its screens'}")

    def word(key: str) -> str:
        line = next((line for line in badging.splitlines() if line.startswith(key)), "''")
        return line.split("'")[1]

    native = next((x for x in badging.splitlines() if x.startswith("native-code")), "")
    return Checked(
        schemes=schemes,
        package=word("package: name="),
        least_sdk=int(word("minSdkVersion:" if "minSdkVersion:" in badging else "sdkVersion:")),
        target_sdk=int(word("targetSdkVersion:")),
        abis=tuple(native.split("'")[1::2]),
        activities=activities,
        classes=len(classes),
    )


def _check_alignment(apk: zipfile.ZipFile, path: Path) -> None:
    with path.open("rb") as stream:
        for info in apk.infolist():
            if not info.filename.endswith(".so"):
                continue
            stream.seek(info.header_offset + 26)
            name, extra = struct.unpack("<HH", stream.read(4))
            start = info.header_offset + 30 + name + extra
            if info.compress_type != zipfile.ZIP_STORED or start % PAGE:
                raise BadFileError(f"{info.filename} of {path.name} is not aligned to {PAGE} bytes")


def read_classes(dex: bytes) -> set[str]:
    """Descriptors (`Ldev/edgesr/app/MainActivity;`) of the classes a dex file defines."""
    sizes = struct.unpack_from("<IIIIIIIIIIIIII", dex, 0x38)
    string_at, type_at = sizes[1], sizes[3]
    class_count, class_at = sizes[10:12]

    def text(index: int) -> str:
        at = struct.unpack_from("<I", dex, string_at + 4 * index)[0]
        while dex[at] & 0x80:
            at += 1
        return dex[at + 1 : dex.index(b"\0", at + 1)].decode("utf-8", "replace")

    kinds = (struct.unpack_from("<I", dex, class_at + 32 * i)[0] for i in range(class_count))
    return {text(struct.unpack_from("<I", dex, type_at + 4 * kind)[0]) for kind in kinds}


def _apksigner() -> list[str]:
    jars = f"{part('apksigner', 'apksigner.jar')}{os.pathsep}{part('apksig', 'apksig.jar')}"
    return [java(), "-cp", jars, "com.android.apksigner.ApkSignerTool"]


def run(command: list[str], name: str) -> str:
    """Run a program of the build; what it printed.

    Raises:
        EnvironmentLimitError: it failed.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stdout + done.stderr).strip()[-1500:]
        raise EnvironmentLimitError(f"{name} says no:\n{said}")
    return done.stdout
