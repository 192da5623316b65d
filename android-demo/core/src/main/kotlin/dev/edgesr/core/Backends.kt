package dev.edgesr.core

/** Where a model may run. [id] is what `edgesr android bench --backend` and the intent say. */
enum class Backend(val id: String, val label: String) {
    CPU("cpu", "CPU"),
    GPU("gpu", "GPU"),
    NPU("npu", "NPU"),
    NNAPI("nnapi", "NNAPI (legacy)");

    companion object {
        fun of(id: String): Backend = entries.find { it.id == id }
            ?: throw Refusal("no backend is called `$id`; there are ${entries.joinToString { it.id }}")
    }
}

/** One backend that was tried in vain, and why. */
data class Attempt(val backend: Backend, val why: String)

/** What runs in the end, and what was tried before. */
class Choice(val backend: Backend, val engine: Engine, val attempts: List<Attempt>) {
    /** For the screen: `CPU, since GPU: no OpenCL library`; just the name when nothing failed. */
    fun describe(): String {
        if (attempts.isEmpty()) return backend.label
        return backend.label + ", since " + attempts.joinToString("; ") { "${it.backend.label}: ${it.why}" }
    }
}

/** The backend the user wants, else the next best one, with the reasons said. */
object Backends {
    /** What to try, in order. The processor comes last and runs everything. */
    fun order(wanted: Backend): List<Backend> = when (wanted) {
        Backend.CPU -> listOf(Backend.CPU)
        Backend.GPU -> listOf(Backend.GPU, Backend.CPU)
        Backend.NPU -> listOf(Backend.NPU, Backend.GPU, Backend.CPU)
        Backend.NNAPI -> listOf(Backend.NNAPI, Backend.CPU)
    }

    /** Why a runtime cannot even try; null where it can. */
    fun impossible(backend: Backend, manifest: Manifest): String? = when {
        manifest.target == "tflite" && backend == Backend.NNAPI ->
            "LiteRT left NNAPI behind; it runs .onnx models here"
        manifest.target == "onnx" && backend == Backend.NPU ->
            "ONNX Runtime reaches NPUs through NNAPI; LiteRT reaches them with .tflite models"
        else -> null
    }

    /** [open] throws [Refusal] where a backend does not work. [strict]: no other one will do. */
    fun choose(wanted: Backend, manifest: Manifest, strict: Boolean = false, open: (Backend) -> Engine): Choice {
        val attempts = ArrayList<Attempt>()
        for (backend in if (strict) listOf(wanted) else order(wanted)) {
            val never = impossible(backend, manifest)
            if (never != null) {
                attempts.add(Attempt(backend, never))
                continue
            }
            try {
                return Choice(backend, open(backend), attempts)
            } catch (refusal: Refusal) {
                attempts.add(Attempt(backend, refusal.message.orEmpty()))
            }
        }
        val reasons = attempts.joinToString("; ") { "${it.backend.label}: ${it.why}" }
        throw Refusal("${manifest.artifact} does not run here. $reasons")
    }
}
