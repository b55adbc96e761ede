using Hypervisor.Ctl.Output;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Images;

internal static class ImageResult
{
    public static void Write(Printer printer, Image image, string what)
    {
        switch (printer.Format)
        {
            case OutputFormat.Json or OutputFormat.Yaml:
                printer.WriteDocument(image);
                break;
            case OutputFormat.Name:
                printer.WriteName(image.Metadata.Name);
                break;
            default:
                printer.WriteLine($"{image.Metadata.Name} {what}: {Readable.Bytes(image.SizeBytes)}, {image.Digest}");
                break;
        }
    }
}
