package dev.edgesr.core

import java.nio.ByteBuffer

/** Pixels (HxWxC, bytes) to a model's input tensor and its output tensor back, one tile at a time. */
interface Codec {
    fun encode(pixels: ByteArray, tensor: ByteBuffer)

    fun decode(tensor: ByteBuffer, pixels: ByteArray)
}

/**
 * The tables of `edgesr/runtime/pixels.py`: a pixel has 256 values, so whatever a model wants to
 * read is a table. Integer outputs are a table as well; floats are rounded half to even.
 */
class Tables(manifest: Manifest) {
    val isFloat = manifest.dtype == "float32"
    val isPlanar = manifest.layout == "NCHW"
    val channels = manifest.channels
    val floats = FloatArray(256) { (it / 255.0 * manifest.valueRange).toFloat() }

    /** Pixel to the bits of its code; empty for floats. */
    val codes: ByteArray

    /** Bits of a code to its pixel; empty for floats. */
    val pixels: ByteArray
    val toPixel = (255 / manifest.valueRange).toFloat()

    init {
        val input = manifest.input
        val output = manifest.output
        if (isFloat || input == null || output == null) {
            codes = ByteArray(0)
            pixels = ByteArray(0)
        } else {
            val signed = manifest.dtype == "int8"
            val (least, most) = if (signed) -128 to 127 else 0 to 255
            codes = ByteArray(256) {
                val real = it / 255.0 * manifest.valueRange
                (Math.rint(real / input.scale) + input.zeroPoint).toInt().coerceIn(least, most).toByte()
            }
            pixels = ByteArray(256) {
                val code = if (signed) it.toByte().toInt() else it
                val real = (code - output.zeroPoint) * output.scale
                Math.rint(real / manifest.valueRange * 255).coerceIn(0.0, 255.0).toInt().toByte()
            }
        }
    }
}

/** [Codec] in plain Kotlin: what the native one is tested against. */
class PlainCodec(private val tables: Tables) : Codec {
    override fun encode(pixels: ByteArray, tensor: ByteBuffer) {
        val places = Places(pixels.size, tables)
        for (index in pixels.indices) {
            val pixel = pixels[index].toInt() and 255
            val place = places.of(index)
            if (tables.isFloat) tensor.putFloat(place * 4, tables.floats[pixel]) else tensor.put(place, tables.codes[pixel])
        }
    }

    override fun decode(tensor: ByteBuffer, pixels: ByteArray) {
        val places = Places(pixels.size, tables)
        for (index in pixels.indices) {
            val place = places.of(index)
            pixels[index] = if (tables.isFloat) {
                val value = tensor.getFloat(place * 4)
                if (value.isNaN()) throw Refusal("the model computes NaN: its weights are broken")
                Math.rint((value * tables.toPixel).toDouble()).coerceIn(0.0, 255.0).toInt().toByte()
            } else {
                tables.pixels[tensor.get(place).toInt() and 255]
            }
        }
    }

    /** Where a value of an interleaved image lies in the tensor. */
    private class Places(size: Int, private val tables: Tables) {
        private val area = size / tables.channels

        fun of(index: Int) =
            if (tables.isPlanar) index % tables.channels * area + index / tables.channels else index
    }
}
