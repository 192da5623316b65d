package dev.edgesr.app

import android.content.Context
import dev.edgesr.core.Meter
import java.util.Locale

/**
 * What is known of a result, in dB: against the original, which only samples have, and reduced again
 * against the photo itself.
 */
class Quality(val psnr: Double? = null, val consistency: Double? = null)

/** The small text over every picture: what ran, where, how fast, how hot. */
class Overlay(context: Context) {
    private val state = DeviceState(context)

    fun text(quality: Quality = Quality()): String {
        val loaded = Workbench.loaded ?: return "no model is loaded\n${state.overlay()}"
        val engine = loaded.choice.engine
        val placement = when (engine.full) {
            true -> "all operators"
            false -> "not all operators"
            null -> "the runtime does not tell which operators"
        }
        val lines = mutableListOf(
            loaded.manifest.title(),
            "${loaded.choice.backend.label} x${Workbench.threads}, ${engine.runtime}: $placement",
            String.format(Locale.ROOT, "%-6s%9.2f ms", "init", loaded.initMs),
            line("pre", Workbench.pre), line("infer", Workbench.infer), line("post", Workbench.post),
        )
        Workbench.frames.read()?.let { (median, _) ->
            lines.add(String.format(Locale.ROOT, "%.1f frames/s", 1000 / median))
        }
        quality.psnr?.let { lines.add(String.format(Locale.ROOT, "%.2f dB (Y, border cut)", it)) }
        quality.consistency?.let { lines.add(String.format(Locale.ROOT, "%.2f dB reduced again (LR consistency)", it)) }
        loaded.choice.attempts.forEach { lines.add("not ${it.backend.label}: ${it.why}") }
        return lines.joinToString("\n") + "\n" + state.overlay()
    }

    private fun line(name: String, meter: Meter): String {
        val (median, p90) = meter.read() ?: return String.format(Locale.ROOT, "%-6s%9s", name, "-")
        return String.format(Locale.ROOT, "%-6s%9.2f ms, p90 %.2f", name, median, p90)
    }
}
