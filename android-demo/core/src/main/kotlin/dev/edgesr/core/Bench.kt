package dev.edgesr.core

/**
 * What `am start` asks of the benchmark screen. Extras arrive as strings (`--es`), so that the
 * command line has one kind of them.
 */
data class BenchArguments(
    val model: String,
    val id: String,
    val backend: Backend,
    val threads: Int,
    val runs: Int,
    val warmUp: Int,
    val strict: Boolean,
) {
    companion object {
        private val NAMES = setOf("model", "id", "backend", "threads", "runs", "warm_up", "strict")
        private val SAFE = Regex("[A-Za-z0-9._-]{1,80}")

        fun read(extras: Map<String, String>): BenchArguments {
            val unknown = extras.keys - NAMES
            if (unknown.isNotEmpty()) throw Refusal("unknown argument ${unknown.first()}; there are $NAMES")
            val model = extras["model"] ?: throw Refusal("--es model FILE is missing")
            if (!SAFE.matches(model) || model.startsWith(".")) throw Refusal("`$model` is no file name")
            val id = extras["id"] ?: "result"
            if (!SAFE.matches(id) || id.startsWith(".")) throw Refusal("`$id` is no name for a result")
            return BenchArguments(
                model, id, Backend.of(extras["backend"] ?: "cpu"),
                whole(extras, "threads", 1, 1..64), whole(extras, "runs", 30, 1..100_000),
                whole(extras, "warm_up", 3, 0..100_000), extras["strict"] == "true",
            )
        }

        private fun whole(extras: Map<String, String>, name: String, usual: Int, range: IntRange): Int {
            val text = extras[name] ?: return usual
            return text.toIntOrNull()?.takeIf { it in range }
                ?: throw Refusal("`$name` takes a whole number within $range, not `$text`")
        }
    }
}

/** What one benchmark found, under the names that `edgesr_run` prints and the harness reads. */
class BenchReport(
    val initMs: Double,
    val firstMs: Double,
    val samples: List<Double>,
    val outBytes: Int,
    val choice: Choice,
    val parity: Parity?,
) {
    fun json(peakKb: Long, facts: Map<String, Any?>): String = Json.write(
        linkedMapOf(
            "edgesr_run" to 1, "init_ms" to initMs, "first_ms" to firstMs, "peak_rss_kb" to peakKb,
            "out_bytes" to outBytes, "samples_ms" to samples, "runtime" to choice.engine.runtime,
            "backend" to choice.backend.id, "full" to choice.engine.full,
            "attempts" to choice.attempts.map { mapOf("backend" to it.backend.id, "why" to it.why) },
            "sha256" to parity?.sha256, "facts" to facts,
        ),
    )

    companion object {
        /** The line for a benchmark that could not be run. */
        fun failure(why: String): String = Json.write(mapOf("edgesr_run" to 1, "error" to why))
    }
}

/** Times a model on the golden pattern; the caller keeps what is left in the output tensor. */
object Bench {
    fun run(arguments: BenchArguments, manifest: Manifest, open: (Backend) -> Engine, codec: Codec): BenchReport {
        val start = System.nanoTime()
        val choice = Backends.choose(arguments.backend, manifest, arguments.strict, open)
        val opened = since(start)
        val engine = choice.engine
        val golden = manifest.golden
        val height = manifest.height ?: golden?.height ?: throw noSize(manifest)
        val width = manifest.width ?: golden?.width ?: throw noSize(manifest)
        codec.encode(Golden.pattern(height, width, manifest.channels), engine.input())
        val first = time(engine)
        repeat(arguments.warmUp) { time(engine) }
        val samples = List(arguments.runs) { time(engine) }
        val record = golden?.takeIf { it.height == height && it.width == width }
        val parity = record?.let { Golden.compare(engine.output(), manifest, it) }
        return BenchReport(opened, first, samples, engine.output().remaining(), choice, parity)
    }

    private fun noSize(manifest: Manifest) =
        Refusal("${manifest.artifact} takes any size and records none; export it with --shape")

    private fun time(engine: Engine): Double {
        val start = System.nanoTime()
        engine.run()
        return since(start)
    }

    private fun since(start: Long) = (System.nanoTime() - start) / 1e6
}
