"""The Android app: built from `android-demo` without an SDK, and used over adb.

    from edgesr.android.build import build
    build(Path("edgesr.apk"), models=[Path("plain-m-x3_int8_192x256.onnx")])

| module | what it does |
|---|---|
| `parts` | the tools and libraries of the build: locked, checksummed, from package registries |
| `kotlin`, `native` | compile the Kotlin modules and the C library |
| `apk` | pack, sign and check |
| `models` | which exported files the app can open |
| `phone` | install, push, bench, pull |

Whoever has Gradle and the Android SDK builds the same sources with `android-demo/gradlew`.
"""
