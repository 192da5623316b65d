package dev.edgesr.core

/**
 * JSON as the manifests use it, read and written without Android's `org.json`, so that the same
 * code runs on a host. Objects become maps, arrays lists, whole numbers [Long], others [Double].
 * `NaN` and `Infinity` are read, since Python writes them, and written as `null`.
 */
object Json {
    private const val DEEPEST = 64

    /** Throws [Refusal] with the offset of the first thing that is not JSON. */
    fun read(text: String): Any? {
        val reader = Reader(text)
        val value = reader.value(0)
        reader.blank()
        if (reader.at < text.length) reader.refuse("something follows the end")
        return value
    }

    fun write(value: Any?): String = StringBuilder().also { append(it, value) }.toString()

    private fun append(out: StringBuilder, value: Any?) {
        when (value) {
            null -> out.append("null")
            is Boolean, is Int, is Long -> out.append(value)
            is Float -> append(out, value.toDouble())
            is Double -> out.append(if (value.isNaN() || value.isInfinite()) "null" else value)
            is Map<*, *> -> {
                var first = true
                out.append('{')
                for ((key, inner) in value) {
                    if (!first) out.append(',')
                    first = false
                    quote(out, key.toString())
                    out.append(':')
                    append(out, inner)
                }
                out.append('}')
            }
            is Iterable<*> -> {
                var first = true
                out.append('[')
                for (inner in value) {
                    if (!first) out.append(',')
                    first = false
                    append(out, inner)
                }
                out.append(']')
            }
            else -> quote(out, value.toString())
        }
    }

    private fun quote(out: StringBuilder, text: String) {
        out.append('"')
        for (c in text) {
            when {
                c == '"' || c == '\\' -> out.append('\\').append(c)
                c < ' ' -> out.append("\\u").append(c.code.toString(16).padStart(4, '0'))
                else -> out.append(c)
            }
        }
        out.append('"')
    }

    private class Reader(val text: String) {
        var at = 0

        fun refuse(why: String): Nothing = throw Refusal("not JSON at character $at: $why")

        fun blank() {
            while (at < text.length && text[at] in " \t\r\n") at++
        }

        fun value(depth: Int): Any? {
            if (depth > DEEPEST) refuse("nested deeper than $DEEPEST")
            blank()
            return when (if (at < text.length) text[at] else refuse("the end came too early")) {
                '{' -> members(depth)
                '[' -> items(depth)
                '"' -> string()
                else -> word()
            }
        }

        private fun members(depth: Int): Map<String, Any?> {
            val found = LinkedHashMap<String, Any?>()
            list('}') {
                if (at >= text.length || text[at] != '"') refuse("a name was expected")
                val name = string()
                blank()
                expect(':')
                found[name] = value(depth + 1)
            }
            return found
        }

        private fun items(depth: Int): List<Any?> {
            val found = ArrayList<Any?>()
            list(']') { found.add(value(depth + 1)) }
            return found
        }

        private inline fun list(end: Char, item: () -> Unit) {
            at++
            blank()
            if (at < text.length && text[at] == end) {
                at++
                return
            }
            while (true) {
                blank()
                item()
                blank()
                if (at < text.length && text[at] == end) {
                    at++
                    return
                }
                expect(',')
            }
        }

        private fun expect(c: Char) {
            if (at >= text.length || text[at] != c) refuse("`$c` was expected")
            at++
        }

        private fun string(): String {
            val out = StringBuilder()
            at++
            while (true) {
                if (at >= text.length) refuse("a string does not end")
                val c = text[at++]
                when {
                    c == '"' -> return out.toString()
                    c < ' ' -> refuse("a control character in a string")
                    c == '\\' -> out.append(escaped())
                    else -> out.append(c)
                }
            }
        }

        private fun escaped(): Char {
            if (at >= text.length) refuse("a string does not end")
            return when (val c = text[at++]) {
                '"', '\\', '/' -> c
                'b' -> '\b'
                'f' -> '\u000c'
                'n' -> '\n'
                'r' -> '\r'
                't' -> '\t'
                'u' -> {
                    val code = text.substring(at, minOf(at + 4, text.length)).toIntOrNull(16)
                    if (code == null || at + 4 > text.length) refuse("a broken \\u escape")
                    at += 4
                    code.toChar()
                }
                else -> refuse("an unknown escape")
            }
        }

        private fun word(): Any? {
            val start = at
            while (at < text.length && (text[at].isLetterOrDigit() || text[at] in "+-.")) at++
            val word = text.substring(start, at)
            return when (word) {
                "true" -> true
                "false" -> false
                "null" -> null
                "NaN" -> Double.NaN
                "Infinity" -> Double.POSITIVE_INFINITY
                "-Infinity" -> Double.NEGATIVE_INFINITY
                else -> number(word) ?: refuse("`$word` is no value")
            }
        }

        private fun number(word: String): Any? {
            if (word.isEmpty() || word.any { it !in "0123456789+-.eE" }) return null
            return word.toLongOrNull() ?: word.toDoubleOrNull()
        }
    }
}
