package dev.edgesr.core

import java.io.DataOutputStream
import java.io.OutputStream
import java.util.zip.CRC32
import java.util.zip.Deflater
import java.util.zip.DeflaterOutputStream

/** Writes a PNG row by row: results larger than memory, without Android's encoder. */
object Png {
    private val SIGNATURE = byteArrayOf(-119, 80, 78, 71, 13, 10, 26, 10)
    private const val CHUNK = 1 shl 16

    fun write(image: PixelSource, out: OutputStream) {
        val data = DataOutputStream(out)
        data.write(SIGNATURE)
        val header = java.nio.ByteBuffer.allocate(13).putInt(image.width).putInt(image.height)
        chunk(data, "IHDR", header.put(byteArrayOf(8, 2, 0, 0, 0)).array(), 13)
        val deflater = Deflater(Deflater.BEST_SPEED)
        val body = java.io.BufferedOutputStream(Chunks(data), CHUNK)
        val packed = DeflaterOutputStream(body, deflater, CHUNK)
        val line = ByteArray(image.width * 3 + 1)
        for (y in 0 until image.height) {
            val row = image.read(0, y, image.width, 1)
            line[0] = 1 // each byte less the one three before: its left neighbour's
            for (i in row.indices) line[i + 1] = (row[i] - if (i < 3) 0 else row[i - 3]).toByte()
            packed.write(line)
        }
        packed.finish()
        body.flush()
        deflater.end()
        chunk(data, "IEND", ByteArray(0), 0)
        data.flush()
    }

    private class Chunks(private val data: DataOutputStream) : OutputStream() {
        override fun write(byte: Int) = write(byteArrayOf(byte.toByte()), 0, 1)

        override fun write(bytes: ByteArray, from: Int, count: Int) =
            chunk(data, "IDAT", bytes.copyOfRange(from, from + count), count)
    }

    private fun chunk(data: DataOutputStream, type: String, bytes: ByteArray, count: Int) {
        val name = type.toByteArray(Charsets.US_ASCII)
        val crc = CRC32().apply {
            update(name)
            update(bytes, 0, count)
        }
        data.writeInt(count)
        data.write(name)
        data.write(bytes, 0, count)
        data.writeInt(crc.value.toInt())
    }
}
