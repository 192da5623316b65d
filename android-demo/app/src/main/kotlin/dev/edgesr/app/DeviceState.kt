package dev.edgesr.app

import android.content.Context
import android.content.Intent
import android.content.IntentFilter
import android.os.BatteryManager
import android.os.Build
import android.os.Debug
import android.os.PowerManager
import java.io.File
import java.util.Locale

/** What may disturb a figure: heat, battery, memory. */
class DeviceState(private val context: Context) {
    private val power = context.getSystemService(Context.POWER_SERVICE) as PowerManager

    /** 0 is cool, 1 light ... 6 shutdown; null before Android 10. */
    fun thermal(): Int? = if (Build.VERSION.SDK_INT >= 29) power.currentThermalStatus else null

    /** How near throttling is, 1.0 being there; null where the phone does not tell. */
    fun headroom(): Float? =
        if (Build.VERSION.SDK_INT >= 30) power.getThermalHeadroom(0).takeUnless { it.isNaN() } else null

    fun facts(): Map<String, Any?> {
        val battery = context.registerReceiver(null, IntentFilter(Intent.ACTION_BATTERY_CHANGED))
        val plugged = battery?.getIntExtra(BatteryManager.EXTRA_PLUGGED, 0) ?: 0
        return linkedMapOf(
            "thermal_status" to thermal(),
            "thermal_headroom" to headroom(),
            "battery_percent" to battery?.getIntExtra(BatteryManager.EXTRA_LEVEL, -1),
            "battery_celsius" to battery?.let { it.getIntExtra(BatteryManager.EXTRA_TEMPERATURE, 0) / 10.0 },
            "charging" to (plugged != 0),
            "power_save" to power.isPowerSaveMode,
        )
    }

    /** Largest resident size of this process so far, in kB. */
    fun peakKb(): Long = File("/proc/self/status").useLines { lines ->
        lines.find { it.startsWith("VmHWM") }?.filter { it.isDigit() }?.toLong() ?: 0
    }

    fun overlay(): String {
        val facts = facts()
        val java = Runtime.getRuntime().let { it.totalMemory() - it.freeMemory() } shr 20
        val heat = if (facts["thermal_status"] == null) "" else ", thermal ${facts["thermal_status"]}"
        val near = headroom()?.let { String.format(Locale.ROOT, " (%.2f)", it) }.orEmpty()
        return "memory ${Debug.getNativeHeapAllocatedSize() shr 20} MB native, $java MB Java\n" +
            "battery ${facts["battery_percent"]} % at ${facts["battery_celsius"]} °C$heat$near"
    }
}
