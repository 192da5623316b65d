plugins {
    alias(libs.plugins.android.application)
    alias(libs.plugins.kotlin.android)
}

android {
    namespace = "dev.edgesr.app"
    compileSdk = 34

    defaultConfig {
        applicationId = "dev.edgesr.app"
        minSdk = 26
        targetSdk = 34
        versionCode = 1
        versionName = "0.1.0"
        ndk { abiFilters += listOf("arm64-v8a", "x86_64") }
    }
    externalNativeBuild {
        cmake { path = file("../jni/CMakeLists.txt") }
    }
    androidResources {
        noCompress += listOf("tflite", "onnx")
    }
    sourceSets["main"].java.srcDir("src/main/kotlin")
}

kotlin {
    jvmToolchain(17)
}

dependencies {
    implementation(project(":core"))
    implementation(project(":engine"))
    implementation(libs.litert)
    implementation(libs.litert.gpu)
    implementation(libs.onnxruntime)
}
