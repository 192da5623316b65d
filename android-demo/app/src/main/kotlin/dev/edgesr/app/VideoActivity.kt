package dev.edgesr.app

import android.app.Activity
import android.content.Intent
import android.graphics.ImageFormat
import android.media.ImageReader
import android.media.MediaCodec
import android.media.MediaExtractor
import android.media.MediaFormat
import android.net.Uri
import android.os.Bundle
import android.os.Handler
import android.os.HandlerThread
import android.os.SystemClock
import android.widget.TextView
import java.io.IOException
import java.util.concurrent.Executors
import java.util.concurrent.Future

/** A short video in a loop, the middle of its frames upscaled; frames the model is too slow for are dropped. */
class VideoActivity : Activity() {
    private lateinit var live: Live
    private lateinit var overlay: TextView
    private val player = Executors.newSingleThreadExecutor()
    private var playing: Future<*>? = null
    private var video: Uri? = null

    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        setContentView(R.layout.live)
        overlay = findViewById(R.id.overlay)
        live = Live(findViewById(R.id.picture), overlay, video = true)
        val intent = Intent(Intent.ACTION_OPEN_DOCUMENT).addCategory(Intent.CATEGORY_OPENABLE).setType("video/*")
        if (state == null) startActivityForResult(intent, 1) else finish()
    }

    override fun onActivityResult(request: Int, code: Int, data: Intent?) {
        super.onActivityResult(request, code, data)
        video = data?.data
        if (video == null) finish()
    }

    override fun onResume() {
        super.onResume()
        video?.let { uri -> playing = player.submit { play(uri) } }
    }

    override fun onPause() {
        playing?.cancel(true)
        super.onPause()
    }

    override fun onDestroy() {
        player.shutdownNow()
        super.onDestroy()
    }

    private fun play(uri: Uri) {
        val extractor = MediaExtractor()
        val thread = HandlerThread("frames").apply { start() }
        try {
            extractor.setDataSource(this, uri, null)
            val track = (0 until extractor.trackCount).firstOrNull { mime(extractor.getTrackFormat(it)).startsWith("video/") }
                ?: return say("this file has no video in it")
            extractor.selectTrack(track)
            decode(extractor, extractor.getTrackFormat(track), Handler(thread.looper))
        } catch (error: IOException) {
            say("the video cannot be read: ${error.message}")
        } catch (error: SecurityException) {
            say("the video may not be read any more; choose it again")
        } catch (error: IllegalArgumentException) {
            say("this phone has no decoder for the video: ${error.message}")
        } catch (error: IllegalStateException) {
            say("the decoder gave up: ${error.message}")
        } catch (error: InterruptedException) {
            // The screen was left.
        } finally {
            extractor.release()
            thread.quitSafely()
        }
    }

    private fun mime(format: MediaFormat) = format.getString(MediaFormat.KEY_MIME).orEmpty()

    private fun decode(extractor: MediaExtractor, format: MediaFormat, handler: Handler) {
        val width = format.getInteger(MediaFormat.KEY_WIDTH)
        val height = format.getInteger(MediaFormat.KEY_HEIGHT)
        val turn = if (format.containsKey(MediaFormat.KEY_ROTATION)) format.getInteger(MediaFormat.KEY_ROTATION) else 0
        val images = ImageReader.newInstance(width, height, ImageFormat.YUV_420_888, 3)
        images.setOnImageAvailableListener({ source ->
            source.acquireLatestImage()?.let { live.offer(it, turn) }
        }, handler)
        val codec = MediaCodec.createDecoderByType(mime(format))
        try {
            codec.configure(format, images.surface, null, 0)
            codec.start()
            loop(extractor, codec)
        } finally {
            codec.release()
            images.close()
        }
    }

    /** Feeds the decoder and lets each frame out when its time has come; from the start at the end. */
    private fun loop(extractor: MediaExtractor, codec: MediaCodec) {
        val info = MediaCodec.BufferInfo()
        var start = SystemClock.elapsedRealtime()
        var ended = false
        while (!Thread.interrupted()) {
            if (!ended) {
                val slot = codec.dequeueInputBuffer(WAIT)
                if (slot >= 0) {
                    val size = extractor.readSampleData(codec.getInputBuffer(slot)!!, 0)
                    ended = size < 0
                    val flag = if (ended) MediaCodec.BUFFER_FLAG_END_OF_STREAM else 0
                    codec.queueInputBuffer(slot, 0, maxOf(0, size), maxOf(0L, extractor.sampleTime), flag)
                    extractor.advance()
                }
            }
            val slot = codec.dequeueOutputBuffer(info, WAIT)
            if (slot < 0) continue
            val ahead = info.presentationTimeUs / 1000 - (SystemClock.elapsedRealtime() - start)
            if (ahead > 0) Thread.sleep(minOf(ahead, 1000))
            codec.releaseOutputBuffer(slot, info.size > 0)
            if (info.flags and MediaCodec.BUFFER_FLAG_END_OF_STREAM != 0) {
                extractor.seekTo(0, MediaExtractor.SEEK_TO_CLOSEST_SYNC)
                codec.flush()
                start = SystemClock.elapsedRealtime()
                ended = false
            }
        }
    }

    private fun say(text: String) = runOnUiThread { overlay.text = text }

    private companion object {
        const val WAIT = 10_000L
    }
}
