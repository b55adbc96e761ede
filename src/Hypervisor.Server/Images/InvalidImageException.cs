namespace Hypervisor.Server.Images;

/// <summary>An archive was refused. The message names the entry or blob, what is wrong with it, and what to do where that is known.</summary>
internal sealed class InvalidImageException(string message, Exception? inner = null) : Exception(message, inner);

/// <summary>The server could not keep an image: its disk is full or failing. Nothing of the image is left.</summary>
internal sealed class ImageStorageException(string message, Exception inner) : Exception(message, inner);
