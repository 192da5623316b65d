package dev.edgesr.app

import android.content.Context
import android.net.Uri
import android.provider.OpenableColumns
import dev.edgesr.core.Manifest
import dev.edgesr.core.Refusal
import java.io.File
import java.io.IOException

/** A model file, with its manifest or the reason why it is refused. */
class Model(val file: File, val manifest: Manifest?, val refusal: String?) {
    fun title(): String = manifest?.let { "${it.title()} (${it.target})" } ?: "${file.name}: $refusal"
}

/**
 * The models the app can see: bundled ones, those picked from files, and those that
 * `edgesr android push` laid into [PUSHED]. Looked up anew every time: models are swapped while the
 * app runs.
 */
class Models(private val context: Context) {
    private val own = File(context.filesDir, "models")

    fun all(): List<Model> {
        unpack()
        return listOf(PUSHED, own).flatMap { folder ->
            folder.listFiles().orEmpty().filter { it.extension in SUFFIXES }.sorted().map(::look)
        }
    }

    /** By file name; pushed files come before bundled ones of the same name. */
    fun find(name: String): Model = all().find { it.file.name == name }
        ?: throw Refusal("no model is called $name; `edgesr android push` brings it here")

    private fun look(file: File): Model = try {
        Model(file, Manifest.beside(file), null)
    } catch (refusal: Refusal) {
        Model(file, null, refusal.message)
    }

    /** Runtimes want files, and assets are none. */
    private fun unpack() {
        own.mkdirs()
        for (name in context.assets.list("models").orEmpty()) {
            val target = File(own, name)
            if (target.exists() && target.lastModified() >= installed()) continue
            copy(target) { context.assets.open("models/$name") }
        }
    }

    private fun installed() = context.packageManager.getPackageInfo(context.packageName, 0).lastUpdateTime

    /** The model and the manifest that the user picked, in either order. */
    fun add(uris: List<Uri>): Model {
        val names = uris.map { it to nameOf(it) }
        val (uri, name) = names.find { File(it.second).extension in SUFFIXES }
            ?: throw Refusal("choose two files: the model (.tflite or .onnx) and its .json")
        val beside = names.find { it.second == "$name.json" }
            ?: throw Refusal("choose $name.json as well: it says what the model's tensors mean")
        own.mkdirs()
        for ((from, to) in listOf(uri to name, beside.first to beside.second)) {
            copy(File(own, File(to).name)) {
                context.contentResolver.openInputStream(from) ?: throw IOException("$to cannot be opened")
            }
        }
        return look(File(own, File(name).name))
    }

    private fun copy(target: File, open: () -> java.io.InputStream) {
        val draft = File(own, ".draft")
        try {
            open().use { from -> draft.outputStream().use { from.copyTo(it) } }
        } catch (error: IOException) {
            throw Refusal("${target.name} cannot be copied: ${error.message}", error)
        } catch (error: SecurityException) {
            throw Refusal("${target.name} may not be read any more; choose it again", error)
        }
        if (!draft.renameTo(target)) throw Refusal("${target.name} cannot be stored")
    }

    private fun nameOf(uri: Uri): String {
        context.contentResolver.query(uri, arrayOf(OpenableColumns.DISPLAY_NAME), null, null, null)?.use {
            if (it.moveToFirst()) return it.getString(0).orEmpty()
        }
        return uri.lastPathSegment.orEmpty()
    }

    companion object {
        val PUSHED = File("/data/local/tmp/edgesr/models")
        private val SUFFIXES = setOf("tflite", "onnx")
    }
}
