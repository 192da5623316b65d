package dev.edgesr.app

import android.graphics.Bitmap
import android.graphics.Matrix
import android.media.Image
import android.os.SystemClock
import android.widget.ImageView
import android.widget.TextView
import dev.edgesr.core.MemoryPixels
import dev.edgesr.core.Plane
import dev.edgesr.core.Refusal
import dev.edgesr.core.Yuv
import dev.edgesr.core.argb
import java.util.concurrent.atomic.AtomicBoolean

/**
 * Frames of a camera or a video through the loaded model: the middle of each frame, one tile wide.
 * A frame that comes while the last one is still being worked on is dropped.
 */
class Live(private val picture: ImageView, private val overlayText: TextView, private val video: Boolean) {
    private val busy = AtomicBoolean(false)
    private val overlay = Overlay(picture.context)
    private var last = 0L
    private var spoken = 0L

    /** Takes the image over and closes it. [turn]: degrees clockwise to stand upright. */
    fun offer(image: Image, turn: Int) {
        if (!busy.compareAndSet(false, true)) return image.close()
        val loaded = Workbench.loaded
        val frame = if (loaded == null) null else middle(image, loaded.manifest.width ?: 1, loaded.manifest.height ?: 1)
        image.close()
        if (loaded == null || frame == null) return busy.set(false)
        Workbench.work({
            if (loaded !== Workbench.loaded) throw Refusal("the model was changed")
            val scale = loaded.manifest.scale
            val out = MemoryPixels(frame.width * scale, frame.height * scale)
            loaded.upscaler.upscale(frame, out) { _, _, time ->
                Workbench.record(time)
                true
            }
            upright(Bitmap.createBitmap(argb(out.bytes), out.width, out.height, Bitmap.Config.ARGB_8888), turn)
        }, { why ->
            busy.set(false)
            overlayText.text = why
        }) { bitmap ->
            busy.set(false)
            show(bitmap)
        }
    }

    private fun show(bitmap: Bitmap) {
        picture.setImageBitmap(bitmap)
        val now = SystemClock.elapsedRealtime()
        if (last > 0) Workbench.frames.add((now - last).toDouble())
        last = now
        if (now - spoken > 500) {
            spoken = now
            overlayText.text = overlay.text()
        }
    }

    private fun middle(image: Image, wanted: Int, tall: Int): MemoryPixels {
        val width = minOf(wanted, image.width)
        val height = minOf(tall, image.height)
        val (y, u, v) = image.planes.map { Plane(it.buffer, it.rowStride, it.pixelStride) }
        val left = image.cropRect.left + (image.cropRect.width() - width) / 2 / 2 * 2
        val top = image.cropRect.top + (image.cropRect.height() - height) / 2 / 2 * 2
        return MemoryPixels(width, height, Yuv.rgb(y, u, v, maxOf(0, left), maxOf(0, top), width, height, video))
    }

    private fun upright(bitmap: Bitmap, turn: Int): Bitmap {
        if (turn == 0) return bitmap
        val matrix = Matrix().apply { postRotate(turn.toFloat()) }
        return Bitmap.createBitmap(bitmap, 0, 0, bitmap.width, bitmap.height, matrix, false)
    }
}
