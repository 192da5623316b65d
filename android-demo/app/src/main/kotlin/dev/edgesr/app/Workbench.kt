package dev.edgesr.app

import android.os.Handler
import android.os.Looper
import dev.edgesr.core.Backend
import dev.edgesr.core.Backends
import dev.edgesr.core.Choice
import dev.edgesr.core.Codec
import dev.edgesr.core.Meter
import dev.edgesr.core.Refusal
import dev.edgesr.core.TileTime
import dev.edgesr.core.Upscaler
import dev.edgesr.engine.NativeCodec
import dev.edgesr.engine.NativeEngine
import java.util.concurrent.ExecutorService
import java.util.concurrent.Executors

/** A model that is loaded. */
class Loaded(val model: Model, val choice: Choice, val codec: Codec, val initMs: Double) {
    val manifest get() = choice.engine.manifest
    val upscaler = Upscaler(choice.engine, codec)
}

/**
 * The one model that is loaded, and the one thread it runs on. Lives as long as the process, so that
 * turning the phone or opening the camera loads nothing anew.
 */
object Workbench {
    /** Models that take any size get tiles of their recorded output's, else of this. */
    private const val TILE_HEIGHT = 192
    private const val TILE_WIDTH = 256

    private val thread: ExecutorService = Executors.newSingleThreadExecutor()
    private val main = Handler(Looper.getMainLooper())

    var loaded: Loaded? = null
        private set
    var backend = Backend.CPU
    var threads = Runtime.getRuntime().availableProcessors().coerceIn(1, 4)
    val pre = Meter()
    val infer = Meter()
    val post = Meter()
    val frames = Meter()

    /** Runs on the model's thread; [failed] and [done] on the screen's. */
    fun <T> work(job: () -> T, failed: (String) -> Unit, done: (T) -> Unit) = thread.execute {
        try {
            val result = job()
            main.post { done(result) }
        } catch (refusal: Refusal) {
            main.post { failed(refusal.message.orEmpty()) }
        } catch (error: OutOfMemoryError) {
            main.post { failed("out of memory; close other apps, or choose a smaller photo") }
        } catch (error: java.io.IOException) {
            main.post { failed(error.message ?: "a file cannot be read or written") }
        } catch (error: SecurityException) {
            main.post { failed("it may not be read any more; choose it again") }
        }
    }

    fun onScreen(block: () -> Unit) = main.post(block)

    /** To be called on the model's thread. */
    fun load(model: Model): Loaded {
        val read = model.manifest ?: throw Refusal(model.refusal.orEmpty())
        val manifest = read.sized(read.golden?.height ?: TILE_HEIGHT, read.golden?.width ?: TILE_WIDTH)
        loaded?.choice?.engine?.close()
        loaded = null
        val start = System.nanoTime()
        val choice = Backends.choose(backend, manifest) { NativeEngine(manifest, model.file, it, threads) }
        val fresh = Loaded(model, choice, NativeCodec(manifest), (System.nanoTime() - start) / 1e6)
        listOf(pre, infer, post, frames).forEach(Meter::clear)
        loaded = fresh
        return fresh
    }

    fun record(time: TileTime) {
        pre.add(time.pre)
        infer.add(time.infer)
        post.add(time.post)
    }
}
