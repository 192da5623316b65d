package dev.edgesr.app

import android.content.Context
import android.graphics.Bitmap
import android.graphics.Canvas
import android.graphics.Color
import android.graphics.Paint
import android.graphics.Path
import android.graphics.Rect
import android.graphics.RectF
import android.os.Bundle
import android.util.AttributeSet
import android.view.GestureDetector
import android.view.MotionEvent
import android.view.ScaleGestureDetector
import android.view.View
import android.view.accessibility.AccessibilityNodeInfo
import dev.edgesr.core.PixelSource
import dev.edgesr.core.Viewport
import dev.edgesr.core.argb
import java.io.IOException
import java.util.concurrent.Executors

/**
 * Bicubic to the left of a line, the model to its right. The line follows a finger near it; others
 * move the picture, two fingers zoom, a double tap goes between the whole picture and its pixels, a
 * long press opens the loupe. Holds no more pixels than the screen has.
 */
class CompareView(context: Context, attributes: AttributeSet?) : View(context, attributes) {
    private class Shown(val bitmap: Bitmap, val place: RectF)

    private val painter = Executors.newSingleThreadExecutor()
    private val paint = Paint(Paint.FILTER_BITMAP_FLAG)
    private val line = Paint(Paint.ANTI_ALIAS_FLAG).apply {
        color = Color.WHITE
        strokeWidth = 2 * resources.displayMetrics.density
        style = Paint.Style.STROKE
        setShadowLayer(4f, 0f, 0f, Color.BLACK)
    }
    private val near = 32 * resources.displayMetrics.density

    private var small: PixelSource? = null
    private var big: PixelSource? = null
    private var scale = 1
    private var before: Shown? = null
    private var after: Shown? = null
    private var loupe: Pair<Shown, Shown>? = null
    private var finger = 0f to 0f
    private var magnifying = false
    private var split = 0.5f
    private var zoom = 0.0
    private var left = 0.0
    private var top = 0.0
    private var dragging = false
    private var asked = 0

    private val gestures = GestureDetector(context, object : GestureDetector.SimpleOnGestureListener() {
        override fun onDown(event: MotionEvent): Boolean {
            dragging = Math.abs(event.x - split * width) < near
            return true
        }

        override fun onScroll(first: MotionEvent?, event: MotionEvent, dx: Float, dy: Float): Boolean {
            if (dragging) {
                split = (event.x / width).coerceIn(0f, 1f)
                invalidate()
            } else {
                move(left + dx / zoom, top + dy / zoom)
            }
            return true
        }

        override fun onDoubleTap(event: MotionEvent): Boolean {
            val near = zoom < 0.999
            zoomTo(if (near) 1.0 else whole(), event.x, event.y)
            return true
        }

        override fun onLongPress(event: MotionEvent) {
            magnifying = true
            magnify(event)
        }
    })
    private val pinch = ScaleGestureDetector(context, object : ScaleGestureDetector.SimpleOnScaleGestureListener() {
        override fun onScale(detector: ScaleGestureDetector): Boolean {
            zoomTo(zoom * detector.scaleFactor, detector.focusX, detector.focusY)
            return true
        }
    })

    /** [big] may still be written to; [refresh] shows what came. */
    fun show(small: PixelSource?, big: PixelSource?, scale: Int) {
        val other = small?.width != this.small?.width || scale != this.scale
        this.small = small
        this.big = big
        this.scale = scale
        before = null
        after = null
        if (other || zoom == 0.0) fit() else refresh()
    }

    fun refresh() {
        val small = small ?: return invalidate()
        if (width == 0 || zoom <= 0) return
        val view = Viewport.of(small.width * scale, small.height * scale, width, height, zoom, left, top)
        val big = big
        val number = ++asked
        painter.execute {
            if (number != asked) return@execute // the finger has moved on
            try {
                val fresh = paint(view, view.before(small, scale)) to big?.let { paint(view, view.sample(it)) }
                post {
                    before = fresh.first
                    after = fresh.second
                    invalidate()
                }
            } catch (error: IOException) {
                // The picture was closed while it was being read; the next one is on its way.
            }
        }
    }

    private fun paint(view: Viewport, pixels: ByteArray): Shown {
        val bitmap = Bitmap.createBitmap(argb(pixels), view.columns, view.rows, Bitmap.Config.ARGB_8888)
        val right = (view.x + view.columns * view.step).toFloat()
        return Shown(bitmap, RectF(view.x.toFloat(), view.y.toFloat(), right, (view.y + view.rows * view.step).toFloat()))
    }

    override fun onSizeChanged(width: Int, height: Int, oldWidth: Int, oldHeight: Int) = fit()

    private fun whole(): Double {
        val small = small ?: return 1.0
        return minOf(width / (small.width * scale).toDouble(), height / (small.height * scale).toDouble())
    }

    private fun fit() {
        if (small == null || width == 0) return invalidate()
        zoom = whole()
        move(0.0, 0.0)
    }

    private fun zoomTo(wanted: Double, x: Float, y: Float) {
        if (small == null) return
        val next = wanted.coerceIn(whole(), 16.0)
        val atX = left + x / zoom
        val atY = top + y / zoom
        zoom = next
        move(atX - x / next, atY - y / next)
    }

    private fun move(x: Double, y: Double) {
        val small = small ?: return
        left = within(x, small.width * scale - width / zoom)
        top = within(y, small.height * scale - height / zoom)
        refresh()
        invalidate()
    }

    /** Pictures smaller than the screen are centred. */
    private fun within(value: Double, most: Double) = if (most <= 0) most / 2 else value.coerceIn(0.0, most)

    override fun onTouchEvent(event: MotionEvent): Boolean {
        pinch.onTouchEvent(event)
        if (!pinch.isInProgress) gestures.onTouchEvent(event)
        when (event.actionMasked) {
            MotionEvent.ACTION_MOVE -> if (magnifying) magnify(event)
            MotionEvent.ACTION_UP, MotionEvent.ACTION_CANCEL -> {
                magnifying = false
                loupe = null
                invalidate()
                if (event.actionMasked == MotionEvent.ACTION_UP && dragging) performClick()
            }
        }
        return true
    }

    /** Both sides around the finger, at the pixels of the result or larger. */
    private fun magnify(event: MotionEvent) {
        val small = small ?: return
        val big = big ?: return
        finger = event.x to event.y
        val side = (LOUPE * resources.displayMetrics.density).toInt()
        val near = Viewport.loupe(zoom)
        val view = Viewport.of(
            small.width * scale, small.height * scale, side, side, near,
            left + event.x / zoom - side / near / 2, top + event.y / zoom - side / near / 2,
        )
        painter.execute {
            try {
                val fresh = paint(view, view.before(small, scale)) to paint(view, view.sample(big))
                post {
                    if (magnifying) loupe = fresh
                    invalidate()
                }
            } catch (error: IOException) {
                // As in refresh.
            }
        }
    }

    override fun onDraw(canvas: Canvas) {
        super.onDraw(canvas)
        val middle = split * width
        paint.isFilterBitmap = zoom < 1
        draw(canvas, before, 0f, if (big == null) width.toFloat() else middle)
        draw(canvas, after, middle, width.toFloat())
        if (big != null) canvas.drawLine(middle, 0f, middle, height.toFloat(), line)
        loupe?.let { drawLoupe(canvas, it.first, it.second) }
    }

    private fun draw(canvas: Canvas, shown: Shown?, from: Float, to: Float) {
        if (shown == null) return
        canvas.save()
        canvas.clipRect(from, 0f, to, height.toFloat())
        val place = shown.place
        val target = RectF(
            ((place.left - left) * zoom).toFloat(), ((place.top - top) * zoom).toFloat(),
            ((place.right - left) * zoom).toFloat(), ((place.bottom - top) * zoom).toFloat(),
        )
        canvas.drawBitmap(shown.bitmap, null, target, paint)
        canvas.restore()
    }

    private fun drawLoupe(canvas: Canvas, before: Shown, after: Shown) {
        val radius = LOUPE * resources.displayMetrics.density / 2
        val x = finger.first.coerceIn(radius, maxOf(radius, width - radius))
        val y = (finger.second - 1.6f * radius).coerceIn(radius, maxOf(radius, height - radius))
        val target = RectF(x - radius, y - radius, x + radius, y + radius)
        canvas.save()
        canvas.clipPath(Path().apply { addOval(target, Path.Direction.CW) })
        paint.isFilterBitmap = false
        for ((shown, from, to) in listOf(Triple(before, target.left, x), Triple(after, x, target.right))) {
            canvas.save()
            canvas.clipRect(from, target.top, to, target.bottom)
            canvas.drawBitmap(shown.bitmap, Rect(0, 0, shown.bitmap.width, shown.bitmap.height), target, paint)
            canvas.restore()
        }
        canvas.restore()
        canvas.drawOval(target, line)
        canvas.drawLine(x, target.top, x, target.bottom, line)
    }

    /** TalkBack treats the line as a slider. */
    override fun onInitializeAccessibilityNodeInfo(info: AccessibilityNodeInfo) {
        super.onInitializeAccessibilityNodeInfo(info)
        info.className = "android.widget.SeekBar"
        val range = AccessibilityNodeInfo.RangeInfo.obtain(
            AccessibilityNodeInfo.RangeInfo.RANGE_TYPE_FLOAT, 0f, 1f, split,
        )
        info.rangeInfo = range
        info.addAction(AccessibilityNodeInfo.AccessibilityAction.ACTION_SCROLL_FORWARD)
        info.addAction(AccessibilityNodeInfo.AccessibilityAction.ACTION_SCROLL_BACKWARD)
    }

    override fun performAccessibilityAction(action: Int, arguments: Bundle?): Boolean {
        val step = when (action) {
            AccessibilityNodeInfo.ACTION_SCROLL_FORWARD -> 0.1f
            AccessibilityNodeInfo.ACTION_SCROLL_BACKWARD -> -0.1f
            else -> return super.performAccessibilityAction(action, arguments)
        }
        split = (split + step).coerceIn(0f, 1f)
        invalidate()
        return true
    }

    private companion object {
        const val LOUPE = 160f
    }
}
