package dev.edgesr.engine

import dev.edgesr.core.Backend
import dev.edgesr.core.manifest
import dev.edgesr.core.refused
import org.junit.Test
import java.io.File

/** Run where `libedgesr.so` is missing, or is another processor's. */
class MissingLibraryTest {
    @Test
    fun theProcessorIsNamed() {
        val words = "not built for this processor (${System.getProperty("os.arch")})"
        refused(words) { NativeCodec(manifest()) }
        refused(words) { NativeEngine(manifest(), File("net.tflite"), Backend.CPU, 1) }
    }
}
