package dev.edgesr.core

/** Of latency samples, as `edgesr/benchmarks/statistics.py`: percentiles interpolate linearly. */
object Statistics {
    fun percentile(samples: DoubleArray, percent: Double): Double {
        require(samples.isNotEmpty()) { "no samples" }
        val sorted = samples.sortedArray()
        val place = percent / 100 * (sorted.size - 1)
        val below = place.toInt()
        val above = minOf(below + 1, sorted.size - 1)
        return sorted[below] + (sorted[above] - sorted[below]) * (place - below)
    }

    fun median(samples: DoubleArray): Double = percentile(samples, 50.0)

    fun p90(samples: DoubleArray): Double = percentile(samples, 90.0)
}

/** The last [capacity] samples of something, for the overlay. */
class Meter(private val capacity: Int = 120) {
    private val samples = ArrayDeque<Double>()

    @Synchronized
    fun add(milliseconds: Double) {
        if (samples.size == capacity) samples.removeFirst()
        samples.addLast(milliseconds)
    }

    @Synchronized
    fun clear() = samples.clear()

    /** Median and 90th percentile; null before the first sample. */
    @Synchronized
    fun read(): Pair<Double, Double>? {
        if (samples.isEmpty()) return null
        val values = samples.toDoubleArray()
        return Statistics.median(values) to Statistics.p90(values)
    }
}
