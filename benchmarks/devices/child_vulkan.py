"""Prints the Vulkan adapters the loader finds, as JSON. No edgesr, no packages."""

import ctypes
import json
import sys

KINDS = ("other", "integrated", "discrete", "virtual", "software")
PROPERTIES = 4096
"""More bytes than VkPhysicalDeviceProperties has."""


def adapters() -> list[dict[str, str]]:
    library = ctypes.CDLL("libvulkan.so.1")

    class Info(ctypes.Structure):  # VkInstanceCreateInfo, all of it zero but the type
        _fields_ = (("type", ctypes.c_uint32), ("rest", ctypes.c_uint8 * 60))

    instance = ctypes.c_void_p()
    if library.vkCreateInstance(ctypes.byref(Info(1)), None, ctypes.byref(instance)):
        return []
    count = ctypes.c_uint32()
    library.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), None)
    handles = (ctypes.c_void_p * count.value)()
    library.vkEnumeratePhysicalDevices(instance, ctypes.byref(count), handles)
    found = []
    for handle in handles:
        properties = ctypes.create_string_buffer(PROPERTIES)
        library.vkGetPhysicalDeviceProperties(ctypes.c_void_p(handle), properties)
        raw = bytes(properties)  # five 32-bit numbers, the last the kind, then the name
        kind = int.from_bytes(raw[16:20], sys.byteorder)
        name = raw[20 : 20 + 256].split(b"\0")[0].decode(errors="replace")
        found.append({"name": name, "kind": KINDS[kind] if kind < len(KINDS) else "other"})
    return found


try:
    print(json.dumps({"adapters": adapters()}))
except OSError as error:
    print(json.dumps({"adapters": [], "error": str(error)}))
