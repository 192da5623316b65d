package dev.edgesr.engine

import dev.edgesr.core.Codec
import dev.edgesr.core.Manifest
import dev.edgesr.core.Tables
import java.nio.ByteBuffer

/** The tables of [Tables] in native code, with NEON where the processor has it. */
class NativeCodec(manifest: Manifest) : Codec {
    private val tables = Tables(manifest)
    private val encodeFlip = flip(tables.codes)
    private val decodeFlip = flip(tables.pixels)

    init {
        loadLibrary()
    }

    override fun encode(pixels: ByteArray, tensor: ByteBuffer) = Native.encode(
        pixels, tensor, tables.channels, tables.isPlanar, encodeFlip,
        tables.codes.takeIf { encodeFlip < 0 }, tables.floats.takeIf { tables.isFloat },
    )

    override fun decode(tensor: ByteBuffer, pixels: ByteArray) = Native.decode(
        tensor, pixels, tables.channels, tables.isPlanar, decodeFlip,
        tables.pixels.takeIf { decodeFlip < 0 }, if (tables.isFloat) tables.toPixel else 0f,
    )

    private companion object {
        /** The number that turns every index into its entry by exclusive or; -1 when there is none. */
        fun flip(table: ByteArray): Int {
            if (table.isEmpty()) return -1
            val first = table[0].toInt() and 255
            return if (table.indices.all { (table[it].toInt() and 255) == it xor first }) first else -1
        }
    }
}
