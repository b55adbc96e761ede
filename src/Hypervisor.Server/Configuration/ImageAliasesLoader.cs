using Hypervisor.Hosting.Configuration;
using Hypervisor.Hosting.Registries;
using Hypervisor.Hosting.Yaml;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Images;
using Hypervisor.Server.Images.Downloads;

namespace Hypervisor.Server.Configuration;

/// <summary>Reads the file of aliases.</summary>
internal static class ImageAliasesLoader
{
    /// <summary>No variable of the environment changes what an operator wrote there.</summary>
    private const string NoPrefix = "HYPERVISOR_ALIASES";

    /// <param name="key">Which key of the configuration names the file.</param>
    /// <exception cref="ConfigurationException">What is wrong in the file.</exception>
    public static IReadOnlyList<ImageAlias> Load(ConfigurationReader configuration, string key, string path)
    {
        try
        {
            return Parse(YamlDocument.LoadFile(path));
        }
        catch (InvalidYamlException exception)
        {
            throw new ConfigurationException(exception.Errors);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            configuration.Fail($"cannot be read ({DisplayText.Of(path)})", "check that the file exists and its permissions", key);
            return [];
        }
    }

    /// <inheritdoc cref="Load"/>
    public static IReadOnlyList<ImageAlias> Parse(YamlDocument document)
    {
        var reader = new ConfigurationReader(document, NoPrefix, new Dictionary<string, string>());
        List<ImageAlias> aliases = [];
        foreach (var section in reader.Sections("aliases", Limits.Disks.Aliases))
        {
            var alias = Read(reader, section);
            if (aliases.Any(other => other.Name == alias.Name))
            {
                reader.Fail($"repeats an alias ({DisplayText.Of(alias.Name)})", "keep one of them", $"{section}.name");
            }
            else if (alias.Disk is { } disk && aliases.Any(other => other.Disk?.Image == disk.Image))
            {
                reader.Fail($"is the image of another alias ({disk.Image})", "give each a name of its own", $"{section}.disk.image");
            }

            aliases.Add(alias);
        }

        reader.ThrowIfInvalid();
        return aliases;
    }

    private static ImageAlias Read(ConfigurationReader reader, string section)
    {
        var name = reader.Value<string>($"{section}.name", "", Name);
        if (!reader.IsSet($"{section}.name"))
        {
            reader.Fail("is missing", "write the short name, ubuntu", $"{section}.name", "aliases");
        }

        // A name that is none was complained of; something takes its place.
        var own = ImageReference.TryParse(name, out var parsed) ? parsed : new ImageReference(ImageReference.DefaultRegistry, "library/unnamed", ImageReference.DefaultTag, "");
        var oci = reader.Value<ImageReference>($"{section}.oci", own, Reference);
        return new(name, oci, reader.IsSet($"{section}.disk") ? Disk(reader, $"{section}.disk", own with { Tag = "cloud" }) : null);
    }

    private static AliasDisk Disk(ConfigurationReader reader, string section, ImageReference otherwise)
    {
        var disk = new AliasDisk(
            reader.Value<ImageReference>($"{section}.image", otherwise, Reference),
            reader.Value<Uri>($"{section}.url", new Uri("https://invalid"), Address),
            reader.Value<string>($"{section}.checksum", "", Checksum),
            reader.Value<Uri?>($"{section}.checksums", null, Address),
            reader.Value($"{section}.format", ImageFormat.Qcow2, Values.OneOf(("qcow2", ImageFormat.Qcow2), ("raw", ImageFormat.Raw))),
            reader.Value($"{section}.user", "", Values.Text(Limits.Disks.UserCharacters)),
            reader.Value($"{section}.os", "", Values.Text(Limits.Disks.OperatingSystemCharacters)));
        if (!reader.IsSet($"{section}.url"))
        {
            reader.Fail("is missing", "write where the disk image is, https://...", $"{section}.url", section);
        }

        if ((disk.Checksum.Length > 0) == disk.Checksums is not null)
        {
            reader.Fail(
                disk.Checksums is null ? "is missing" : "is given besides checksum", "give the image's checksum, or in checksums the file that lists it",
                $"{section}.checksums", section);
        }

        if (disk.Image.Digest.Length > 0)
        {
            reader.Fail($"has a digest ({disk.Image})", "write name:tag", $"{section}.image");
        }

        return disk;
    }

    private static Complaint? Name(string text, out string value)
    {
        value = text;
        return ImageReference.TryParse(text, out var reference) && reference.ToString() == $"{text}:{ImageReference.DefaultTag}"
            ? null
            : new("is not a short name", "write one as people call the image, without registry, tag or digest: ubuntu");
    }

    private static Complaint? Reference(string text, out ImageReference value) =>
        ImageReference.TryParse(text, out value) ? null : new("is not the name of an image", ImageReference.Rule);

    private static Complaint? Address(string text, out Uri value) =>
        ImageDownloads.TryParse(text, out value) ? null : new("is not a web address", "write https://host/path");

    private static Complaint? Checksum(string text, out string value)
    {
        value = text;
        return ContentChecksum.TryParse(text, out _) ? null : new("is not a checksum", ContentChecksum.Rule);
    }
}
