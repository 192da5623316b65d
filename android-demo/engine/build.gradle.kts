plugins {
    alias(libs.plugins.kotlin.jvm)
}

kotlin {
    jvmToolchain(17)
}

dependencies {
    implementation(project(":core"))
}

// Its tests need the runtimes' libraries and Python's answers: tests/android/test_android_host.py.
sourceSets["test"].java.setSrcDirs(emptyList<String>())
kotlin.sourceSets["test"].kotlin.setSrcDirs(emptyList<String>())
