package dev.edgesr.app

import android.Manifest.permission.CAMERA
import android.app.Activity
import android.content.Context
import android.content.pm.PackageManager
import android.graphics.ImageFormat
import android.hardware.camera2.CameraAccessException
import android.hardware.camera2.CameraCaptureSession
import android.hardware.camera2.CameraCharacteristics
import android.hardware.camera2.CameraDevice
import android.hardware.camera2.CameraManager
import android.hardware.camera2.CaptureRequest
import android.media.ImageReader
import android.os.Bundle
import android.os.Handler
import android.os.HandlerThread
import android.view.Surface
import android.widget.TextView
import dev.edgesr.core.Permission

/** The middle of what the camera sees, upscaled as fast as the model goes. */
class CameraActivity : Activity() {
    private lateinit var live: Live
    private lateinit var overlay: TextView
    private lateinit var thread: HandlerThread
    private lateinit var handler: Handler
    private var device: CameraDevice? = null
    private var reader: ImageReader? = null
    private var asked = false
    private var resumed = false

    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        setContentView(R.layout.live)
        overlay = findViewById(R.id.overlay)
        live = Live(findViewById(R.id.picture), overlay, video = false)
    }

    /** The permission may have been taken away while the app was in the background. */
    override fun onResume() {
        super.onResume()
        resumed = true
        thread = HandlerThread("camera").apply { start() }
        handler = Handler(thread.looper)
        val granted = checkSelfPermission(CAMERA) == PackageManager.PERMISSION_GRANTED
        when (Permission.next(granted, asked)) {
            Permission.GO -> start()
            Permission.EXPLAIN -> overlay.setText(R.string.camera_denied)
            Permission.ASK -> {
                asked = true
                requestPermissions(arrayOf(CAMERA), 1)
            }
        }
    }

    override fun onPause() {
        resumed = false
        device?.close()
        device = null
        reader?.close()
        reader = null
        thread.quitSafely()
        super.onPause()
    }

    private fun start() {
        val manager = getSystemService(Context.CAMERA_SERVICE) as CameraManager
        try {
            val id = manager.cameraIdList.firstOrNull { manager.facing(it) == CameraCharacteristics.LENS_FACING_BACK }
                ?: manager.cameraIdList.firstOrNull() ?: return overlay.setText(R.string.no_camera)
            val facts = manager.getCameraCharacteristics(id)
            val sizes = facts[CameraCharacteristics.SCALER_STREAM_CONFIGURATION_MAP]
                ?.getOutputSizes(ImageFormat.YUV_420_888) ?: return overlay.setText(R.string.no_camera)
            val size = sizes.filter { it.width >= 640 }.minByOrNull { it.width * it.height } ?: sizes.first()
            val turn = turn(facts)
            val images = ImageReader.newInstance(size.width, size.height, ImageFormat.YUV_420_888, 3)
            images.setOnImageAvailableListener({ source ->
                source.acquireLatestImage()?.let { live.offer(it, turn) }
            }, handler)
            reader = images
            manager.openCamera(id, opened(images), handler)
        } catch (error: CameraAccessException) {
            overlay.text = "the camera says no: ${error.message}"
        } catch (error: SecurityException) {
            overlay.setText(R.string.camera_denied)
        }
    }

    private fun CameraManager.facing(id: String) = getCameraCharacteristics(id)[CameraCharacteristics.LENS_FACING]

    /** How far the sensor's picture is turned against the screen. */
    @Suppress("DEPRECATION") // Activity.display came with Android 11
    private fun turn(facts: CameraCharacteristics): Int {
        val sensor = facts[CameraCharacteristics.SENSOR_ORIENTATION] ?: 0
        val screen = when (windowManager.defaultDisplay.rotation) {
            Surface.ROTATION_90 -> 90
            Surface.ROTATION_180 -> 180
            Surface.ROTATION_270 -> 270
            else -> 0
        }
        val front = facts[CameraCharacteristics.LENS_FACING] == CameraCharacteristics.LENS_FACING_FRONT
        return (sensor + (if (front) screen else -screen) + 360) % 360
    }

    private fun opened(images: ImageReader) = object : CameraDevice.StateCallback() {
        @Suppress("DEPRECATION") // its successor came with Android 9
        override fun onOpened(camera: CameraDevice) {
            if (!resumed) return camera.close()
            device = camera
            try {
                camera.createCaptureSession(listOf(images.surface), session(camera, images), handler)
            } catch (error: CameraAccessException) {
                say("the camera went away: ${error.message}")
            }
        }

        override fun onDisconnected(camera: CameraDevice) {
            camera.close()
            say("another app took the camera; come back to this screen to go on")
        }

        override fun onError(camera: CameraDevice, error: Int) {
            camera.close()
            say("the camera failed (error $error); close other camera apps and try again")
        }
    }

    private fun session(camera: CameraDevice, images: ImageReader) = object : CameraCaptureSession.StateCallback() {
        override fun onConfigured(session: CameraCaptureSession) {
            try {
                val request = camera.createCaptureRequest(CameraDevice.TEMPLATE_PREVIEW)
                request.addTarget(images.surface)
                request[CaptureRequest.CONTROL_AF_MODE] = CaptureRequest.CONTROL_AF_MODE_CONTINUOUS_PICTURE
                session.setRepeatingRequest(request.build(), null, handler)
            } catch (error: CameraAccessException) {
                say("the camera went away: ${error.message}")
            } catch (error: IllegalStateException) {
                // The screen was left while the camera was starting.
            }
        }

        override fun onConfigureFailed(session: CameraCaptureSession) = say("the camera cannot deliver such pictures")
    }

    private fun say(text: String) = runOnUiThread { overlay.text = text }
}
