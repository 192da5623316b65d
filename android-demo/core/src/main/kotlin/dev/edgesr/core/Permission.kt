package dev.edgesr.core

/** What a screen does that needs a permission; asked anew every time it comes to the front. */
enum class Permission {
    GO, ASK, EXPLAIN;

    companion object {
        /**
         * [granted] may change behind the app's back: the user takes permissions away in the
         * settings, Android does after months. [asked]: in the life of this screen, whose user said
         * no; asking again would be nagging, and Android stops showing the question.
         */
        fun next(granted: Boolean, asked: Boolean): Permission = when {
            granted -> GO
            asked -> EXPLAIN
            else -> ASK
        }
    }
}
