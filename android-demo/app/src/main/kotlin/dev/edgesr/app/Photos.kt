package dev.edgesr.app

import android.content.Context
import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.graphics.BitmapRegionDecoder
import android.graphics.Rect
import android.media.ExifInterface
import android.net.Uri
import dev.edgesr.core.MemoryPixels
import dev.edgesr.core.Oriented
import dev.edgesr.core.PixelFile
import dev.edgesr.core.PixelSource
import dev.edgesr.core.Refusal
import dev.edgesr.core.rgb
import java.io.Closeable
import java.io.File
import java.io.IOException
import java.io.InputStream

/** A picture, and the file to be closed when it is not needed any more. */
class Photo(val pixels: PixelSource, val scratch: Closeable?)

/** Pictures as pixels: photos of any size through strips into a scratch file. */
class Photos(private val context: Context) {
    /** [scratch] is overwritten; the result reads from it. */
    fun open(uri: Uri, scratch: File): Photo {
        val orientation = stream(uri).use { ExifInterface(it).getAttributeInt(ExifInterface.TAG_ORIENTATION, 1) }
        val decoder = try {
            stream(uri).use { region(it) }
        } catch (error: IOException) {
            return Photo(whole(uri, orientation), null)
        }
        val width = decoder.width
        val file = PixelFile(scratch, width, decoder.height)
        val pixels = IntArray(width * STRIP)
        for (top in 0 until decoder.height step STRIP) {
            val rows = minOf(STRIP, decoder.height - top)
            val strip = decoder.decodeRegion(Rect(0, top, width, top + rows), options(1))
                ?: throw Refusal("the photo is damaged at row $top")
            strip.getPixels(pixels, 0, width, 0, 0, width, rows)
            strip.recycle()
            file.write(0, top, width, rows, rgb(pixels.copyOf(width * rows)))
        }
        decoder.recycle()
        return Photo(Oriented(file, orientation), file)
    }

    @Suppress("DEPRECATION") // its successor came with Android 12
    private fun region(stream: InputStream): BitmapRegionDecoder =
        BitmapRegionDecoder.newInstance(stream, false) ?: throw IOException("not a kind that has regions")

    /** GIF, BMP and others that are decoded in one go, if they are small enough. */
    private fun whole(uri: Uri, orientation: Int): PixelSource {
        val size = BitmapFactory.Options().apply { inJustDecodeBounds = true }
        stream(uri).use { BitmapFactory.decodeStream(it, null, size) }
        if (size.outWidth < 1) throw Refusal("this is no picture that Android can read")
        if (size.outWidth.toLong() * size.outHeight > LARGEST_WHOLE) {
            throw Refusal(
                "a ${size.outMimeType} of ${size.outWidth}x${size.outHeight} cannot be read in parts; " +
                    "convert it to JPEG or PNG",
            )
        }
        val bitmap = stream(uri).use { BitmapFactory.decodeStream(it, null, options(1)) }
            ?: throw Refusal("this is no picture that Android can read")
        return Oriented(pixels(bitmap), orientation)
    }

    fun asset(name: String): PixelSource {
        val bitmap = context.assets.open(name).use { BitmapFactory.decodeStream(it, null, options(1)) }
            ?: throw Refusal("the sample $name is damaged; install the app again")
        return pixels(bitmap)
    }

    private fun pixels(bitmap: Bitmap): MemoryPixels {
        val numbers = IntArray(bitmap.width * bitmap.height)
        bitmap.getPixels(numbers, 0, bitmap.width, 0, 0, bitmap.width, bitmap.height)
        val image = MemoryPixels(bitmap.width, bitmap.height, rgb(numbers))
        bitmap.recycle()
        return image
    }

    private fun options(sample: Int) = BitmapFactory.Options().apply {
        inPreferredConfig = Bitmap.Config.ARGB_8888
        inSampleSize = sample
        inScaled = false
    }

    private fun stream(uri: Uri): InputStream = try {
        context.contentResolver.openInputStream(uri)
    } catch (error: SecurityException) {
        throw Refusal("the photo may not be read any more; choose it again", error)
    } ?: throw Refusal("the photo cannot be opened; choose it again")

    private companion object {
        const val STRIP = 64
        const val LARGEST_WHOLE = 12_000_000L
    }
}
