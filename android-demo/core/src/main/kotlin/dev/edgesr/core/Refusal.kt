package dev.edgesr.core

/**
 * Something the user can put right. The message names the cause, the place and the fix; it is what
 * the screen shows, and what the benchmark writes as `error`.
 */
class Refusal(message: String, cause: Throwable? = null) : Exception(message, cause)
