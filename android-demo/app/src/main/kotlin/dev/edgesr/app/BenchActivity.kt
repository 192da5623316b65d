package dev.edgesr.app

import android.app.Activity
import android.content.Intent
import android.os.Build
import android.os.Bundle
import android.util.Log
import android.view.WindowManager
import android.widget.TextView
import dev.edgesr.core.Bench
import dev.edgesr.core.BenchArguments
import dev.edgesr.core.BenchReport
import dev.edgesr.core.Engine
import dev.edgesr.core.Refusal
import dev.edgesr.engine.NativeCodec
import dev.edgesr.engine.NativeEngine
import java.io.File
import java.io.IOException
import java.util.concurrent.Executors

/**
 * `am start -n dev.edgesr.app/.BenchActivity --es model net.tflite --es runs 30 --es id a1`: runs the
 * golden pattern, and leaves `bench/ID.json` and `bench/ID.bin` (the raw output) in the app's folder
 * of the shared storage, where `adb pull` finds them. The JSON comes last: when it is there, all is.
 */
class BenchActivity : Activity() {
    private val thread = Executors.newSingleThreadExecutor()
    private lateinit var text: TextView

    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        text = TextView(this)
        setContentView(text)
        window.addFlags(WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON)
        if (state == null) start(intent)
    }

    override fun onNewIntent(intent: Intent) {
        super.onNewIntent(intent)
        start(intent)
    }

    override fun onDestroy() {
        thread.shutdownNow()
        super.onDestroy()
    }

    private fun start(intent: Intent) {
        val extras = intent.extras ?: Bundle()
        val arguments = try {
            val given = extras.keySet().associateWith { extras.getString(it) }
            val others = given.filterValues { it == null }.keys
            if (others.isNotEmpty()) throw Refusal("${others.first()} is no string; pass it with --es")
            BenchArguments.read(given.mapValues { it.value.orEmpty() })
        } catch (refusal: Refusal) {
            return finishWith("result", BenchReport.failure(refusal.message.orEmpty()))
        }
        text.text = arguments.toString()
        thread.execute {
            val json = try {
                measure(arguments)
            } catch (refusal: Refusal) {
                BenchReport.failure(refusal.message.orEmpty())
            } catch (error: IOException) {
                BenchReport.failure("the result cannot be written: ${error.message}")
            } catch (error: OutOfMemoryError) {
                BenchReport.failure("out of memory")
            }
            runOnUiThread { finishWith(arguments.id, json) }
        }
    }

    private fun measure(arguments: BenchArguments): String {
        val model = Models(this).find(arguments.model)
        val manifest = model.manifest ?: throw Refusal(model.refusal.orEmpty())
        val sized = manifest.golden?.let { manifest.sized(it.height, it.width) } ?: manifest
        val state = DeviceState(this)
        val before = state.facts()
        var engine: Engine? = null
        try {
            val report = Bench.run(arguments, sized, { backend ->
                NativeEngine(sized, model.file, backend, arguments.threads).also { engine = it }
            }, NativeCodec(sized))
            val output = report.choice.engine.output().duplicate()
            val raw = ByteArray(output.remaining()).also(output::get)
            File(folder(), "${arguments.id}.bin").writeBytes(raw)
            val facts = mapOf(
                "before" to before, "after" to state.facts(), "sdk" to Build.VERSION.SDK_INT,
                "model" to Build.MODEL, "threads" to arguments.threads,
            )
            return report.json(state.peakKb(), facts)
        } finally {
            engine?.close()
        }
    }

    private fun folder(): File {
        val shared = getExternalFilesDir("bench") ?: File(filesDir, "bench")
        shared.mkdirs()
        return shared
    }

    private fun finishWith(id: String, json: String) {
        text.text = json
        Log.i("edgesr", json)
        val draft = File(folder(), ".$id")
        draft.writeText(json)
        draft.renameTo(File(folder(), "$id.json"))
    }
}
