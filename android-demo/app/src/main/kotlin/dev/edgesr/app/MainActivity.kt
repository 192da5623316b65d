package dev.edgesr.app

import android.app.Activity
import android.app.AlertDialog
import android.content.Intent
import android.net.Uri
import android.os.Bundle
import android.os.Handler
import android.os.Looper
import android.view.View
import android.widget.Button
import android.widget.LinearLayout
import android.widget.ProgressBar
import android.widget.TextView
import dev.edgesr.core.Backend
import dev.edgesr.core.Golden
import dev.edgesr.core.PixelFile
import dev.edgesr.core.PixelSource
import dev.edgesr.core.Png
import dev.edgesr.core.Refusal
import dev.edgesr.core.consistency
import dev.edgesr.core.psnr
import java.io.Closeable
import java.io.File
import java.util.Locale

/** Photos and samples: open, upscale, compare, save. */
class MainActivity : Activity() {
    private class Picture(val small: PixelSource, val hr: PixelSource?, val name: String, val scratch: Closeable?)

    private lateinit var compare: CompareView
    private lateinit var status: TextView
    private lateinit var overlayText: TextView
    private lateinit var overlay: Overlay
    private lateinit var models: Models
    private lateinit var photos: Photos
    private val ticks = Handler(Looper.getMainLooper())
    private var model: Model? = null
    private var picture: Picture? = null
    private var result: PixelFile? = null
    private var quality = Quality()

    @Volatile
    private var cancelled = false

    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        setContentView(R.layout.main)
        compare = findViewById(R.id.compare)
        status = findViewById(R.id.status)
        overlayText = findViewById(R.id.overlay)
        overlay = Overlay(this)
        models = Models(this)
        photos = Photos(this)
        findViewById<Button>(R.id.cancel).setOnClickListener { cancelled = true }
        button(R.string.open) { pick("image/*", PHOTO) }
        button(R.string.sample) { chooseSample() }
        button(R.string.model) { chooseModel() }
        button(R.string.backend) { chooseBackend() }
        button(R.string.threads) { chooseThreads() }
        button(R.string.camera) { live(CameraActivity::class.java) }
        button(R.string.video) { live(VideoActivity::class.java) }
        button(R.string.parity) { checkParity() }
        button(R.string.save) { save() }
        model = Workbench.loaded?.model
        take(intent)
    }

    override fun onNewIntent(intent: Intent) {
        super.onNewIntent(intent)
        take(intent)
    }

    /** A picture shared by another app, or the model that `edgesr android push --open` names. */
    private fun take(intent: Intent) {
        val name = intent.getStringExtra("model")
        when {
            intent.action == Intent.ACTION_SEND -> shared(intent)?.let(::open)
            name != null -> attempt { use(models.find(name)) }
            model == null -> models.all().find { it.manifest != null }?.let(::use)
        }
    }

    @Suppress("DEPRECATION") // the typed one came with Android 13
    private fun shared(intent: Intent): Uri? = intent.getParcelableExtra(Intent.EXTRA_STREAM)

    override fun onResume() {
        super.onResume()
        tick()
    }

    override fun onPause() {
        ticks.removeCallbacksAndMessages(null)
        super.onPause()
    }

    override fun onDestroy() {
        cancelled = true
        Workbench.work({ closePictures() }, {}, {})
        super.onDestroy()
    }

    private fun tick() {
        overlayText.text = overlay.text(quality)
        ticks.postDelayed(::tick, 1000)
    }

    private fun button(label: Int, press: () -> Unit) {
        val buttons = findViewById<LinearLayout>(R.id.buttons)
        val button = Button(this, null, android.R.attr.buttonBarButtonStyle)
        button.setText(label)
        button.minHeight = (48 * resources.displayMetrics.density).toInt()
        button.setOnClickListener { press() }
        buttons.addView(button)
    }

    private fun say(text: String) {
        status.text = text
    }

    private fun attempt(block: () -> Unit) = try {
        block()
    } catch (refusal: Refusal) {
        say(refusal.message.orEmpty())
    }

    private fun pick(type: String, request: Int) {
        val intent = Intent(Intent.ACTION_OPEN_DOCUMENT).addCategory(Intent.CATEGORY_OPENABLE).setType(type)
        startActivityForResult(intent.putExtra(Intent.EXTRA_ALLOW_MULTIPLE, request == MODEL), request)
    }

    override fun onActivityResult(request: Int, code: Int, data: Intent?) {
        super.onActivityResult(request, code, data)
        if (code != RESULT_OK || data == null) return
        val clip = data.clipData
        val uris = if (clip == null) listOfNotNull(data.data) else List(clip.itemCount) { clip.getItemAt(it).uri }
        when (request) {
            PHOTO -> uris.firstOrNull()?.let(::open)
            MODEL -> Workbench.work({ models.add(uris) }, ::say, ::use)
            SAVE -> uris.firstOrNull()?.let(::write)
        }
    }

    private fun open(uri: Uri) {
        say("Opening…")
        cancelled = true
        Workbench.work({
            closePictures()
            val photo = photos.open(uri, File(cacheDir, "photo.rgb"))
            Picture(photo.pixels, null, "photo", photo.scratch)
        }, ::say, ::show)
    }

    private fun chooseSample() {
        val names = assets.list("samples").orEmpty().filter { it.endsWith("_hr.png") }.map { it.removeSuffix("_hr.png") }
        if (names.isEmpty()) return say("this build has no samples")
        choose(getString(R.string.sample), names) { openSample(names[it]) }
    }

    /** A sample is there at every scale, with the photo it was made from. */
    private fun openSample(sample: String) {
        val scale = Workbench.loaded?.manifest?.scale ?: return say("choose a model first")
        cancelled = true
        Workbench.work({
            closePictures()
            val name = "${sample}_x$scale.png"
            if (name !in assets.list("samples").orEmpty()) {
                throw Refusal("no sample was made smaller by $scale; open a photo instead")
            }
            Picture(photos.asset("samples/$name"), photos.asset("samples/${sample}_hr.png"), sample, null)
        }, ::say, ::show)
    }

    private fun show(fresh: Picture) {
        picture = fresh
        quality = Quality()
        compare.show(fresh.small, null, Workbench.loaded?.manifest?.scale ?: 1)
        upscale()
    }

    private fun upscale() {
        val picture = picture ?: return
        val loaded = Workbench.loaded ?: return say("choose a model: nothing is loaded")
        val manifest = loaded.manifest
        cancelled = false
        val bar = findViewById<ProgressBar>(R.id.progress)
        findViewById<View>(R.id.working).visibility = View.VISIBLE
        var shown = 0L
        Workbench.work({
            val small = picture.small
            result?.close()
            val big = PixelFile(File(cacheDir, "result.rgb"), small.width * manifest.scale, small.height * manifest.scale)
            result = big
            Workbench.onScreen { compare.show(small, big, manifest.scale) }
            val start = System.nanoTime()
            val whole = loaded.upscaler.upscale(small, big) { done, all, time ->
                Workbench.record(time)
                if (System.currentTimeMillis() - shown > 200 || done == all) {
                    shown = System.currentTimeMillis()
                    Workbench.onScreen {
                        bar.max = all
                        bar.progress = done
                        compare.refresh()
                    }
                }
                !cancelled
            }
            val seconds = (System.nanoTime() - start) / 1e9
            val psnr = picture.hr?.takeIf { whole }?.let { psnr(big, it, manifest.scale) }
            val inexact = loaded.upscaler.plan(small).whyInexact
            val size = "${big.width}x${big.height}"
            val faithful = if (whole) consistency(big, small, manifest.scale) else null
            Quality(psnr, faithful) to if (whole) {
                String.format(Locale.ROOT, "%s in %.2f s, %s", size, seconds, loaded.choice.describe()) +
                    if (inexact.isEmpty()) "" else ". $inexact"
            } else {
                "Cancelled; what is missing is black"
            }
        }, { why ->
            findViewById<View>(R.id.working).visibility = View.GONE
            say(why)
        }) { (measured, words) ->
            findViewById<View>(R.id.working).visibility = View.GONE
            quality = measured
            compare.refresh()
            say(words)
        }
    }

    private fun chooseModel() {
        val all = models.all()
        val titles = all.map { (if (it.manifest == null) "✗ " else "") + it.title() } + getString(R.string.import_model)
        choose(getString(R.string.model), titles) { index ->
            if (index == all.size) pick("*/*", MODEL) else use(all[index])
        }
    }

    private fun use(chosen: Model) {
        cancelled = true
        say("Loading ${chosen.file.name}…")
        Workbench.work({ Workbench.load(chosen) }, ::say) { loaded ->
            model = chosen
            say("${loaded.manifest.title()} on ${loaded.choice.describe()}")
            val sample = picture?.takeIf { it.hr != null }?.name
            if (sample == null) upscale() else openSample(sample)
        }
    }

    private fun chooseBackend() = choose(getString(R.string.backend), Backend.entries.map { it.label }) { index ->
        Workbench.backend = Backend.entries[index]
        model?.let(::use)
    }

    private fun chooseThreads() {
        val counts = listOf(1, 2, 4, 8).filter { it <= Runtime.getRuntime().availableProcessors() }
        choose(getString(R.string.threads), counts.map { it.toString() }) { index ->
            Workbench.threads = counts[index]
            model?.let(::use)
        }
    }

    private fun choose(title: String, items: List<String>, chosen: (Int) -> Unit) {
        AlertDialog.Builder(this).setTitle(title)
            .setItems(items.toTypedArray()) { _, index -> chosen(index) }
            .show()
    }

    private fun checkParity() {
        val loaded = Workbench.loaded ?: return say("choose a model first")
        Workbench.work({ Golden.check(loaded.choice.engine, loaded.codec) }, ::say) { say(it.describe()) }
    }

    private fun live(screen: Class<*>) {
        if (Workbench.loaded == null) return say("choose a model first")
        cancelled = true
        startActivity(Intent(this, screen))
    }

    private fun save() {
        if (result == null) return say("there is nothing to save yet")
        val intent = Intent(Intent.ACTION_CREATE_DOCUMENT).addCategory(Intent.CATEGORY_OPENABLE).setType("image/png")
        val name = "${picture?.name ?: "picture"}_x${Workbench.loaded?.manifest?.scale ?: 1}.png"
        startActivityForResult(intent.putExtra(Intent.EXTRA_TITLE, name), SAVE)
    }

    private fun write(uri: Uri) {
        say("Saving…")
        Workbench.work({
            val out = contentResolver.openOutputStream(uri) ?: throw Refusal("the file cannot be written")
            out.buffered().use { stream -> Png.write(result ?: throw Refusal("there is nothing to save"), stream) }
        }, ::say) { say("Saved") }
    }

    /** On the model's thread, so that nothing reads from what goes away. */
    private fun closePictures() {
        result?.close()
        result = null
        picture?.scratch?.close()
        picture = null
    }

    private companion object {
        const val PHOTO = 1
        const val MODEL = 2
        const val SAVE = 3
    }
}
