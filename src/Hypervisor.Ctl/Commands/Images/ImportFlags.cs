using System.CommandLine;
using Hypervisor.Ctl.Errors;
using Hypervisor.Ctl.Specs;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Ctl.Commands.Images;

/// <summary>What an import's flags say, and where its bytes come from.</summary>
internal sealed class ImportFlags
{
    private readonly Argument<string?> _file = new("file")
    {
        Description = "OCI or docker-save archive, or disk image; plain, gzip or zstd; http:// or https:// has the server fetch it; - is standard input",
        Arity = ArgumentArity.ZeroOrOne,
    };
    private readonly Option<string> _name = new("--name") { Description = "\"name\" or \"name:tag\" (default: the only name in the archive)", HelpName = "NAME" };
    private readonly Option<string> _format = new("--format")
    {
        Description = "oci, qcow2, raw or kernel (default: an OCI archive, or a qcow2 that begins as one; raw is never guessed)",
        HelpName = "FORMAT",
    };
    private readonly Option<string> _checksum = new("--checksum") { Description = "sha256:... or sha512:... of the file as it is sent; required for a URL", HelpName = "CHECKSUM" };
    private readonly Option<string> _architecture = new("--arch") { Description = "Of a disk image (default: amd64)", HelpName = "ARCH" };
    private readonly Option<string> _user = new("--user") { Description = "Whom people log in to a disk image as", HelpName = "USER" };
    private readonly Option<string> _system = new("--os") { Description = "Of a disk image (default: linux)", HelpName = "OS" };
    private readonly Option<string> _virtualSize = new("--virtual-size") { Description = "The most that a disk made of it may have, 20GiB", HelpName = "SIZE" };
    private readonly Option<string> _kernel = new("--kernel") { Description = "Of a kernel set, instead of a file: bzImage or ELF", HelpName = "FILE" };
    private readonly Option<string> _initramfs = new("--initramfs") { Description = "Of a kernel set: cpio, plain or compressed", HelpName = "FILE" };
    private readonly Option<string> _rootfs = new("--rootfs") { Description = "Of a kernel set: a raw disk with a file system", HelpName = "FILE" };
    private readonly Option<string> _requestId = CommonOptions.RequestId();

    public void Declare(Command command)
    {
        _format.CompletionSources.Add([.. EnumWords.Words<ImageFormat>()]);
        command.Add(_file);
        foreach (var option in (ReadOnlySpan<Option>)
            [_name, _format, _checksum, _architecture, _user, _system, _virtualSize, _kernel, _initramfs, _rootfs, _requestId])
        {
            command.Add(option);
        }
    }

    /// <summary>What was named to be imported; null for a kernel set.</summary>
    /// <exception cref="CtlException">Neither or both.</exception>
    public string? Source(Invocation invocation)
    {
        var set = new[] { _kernel, _initramfs, _rootfs }.Count(option => invocation.Get(option) is not null);
        return invocation.Get(_file) switch
        {
            null when set == 3 => null,
            null => throw CtlException.Usage(set == 0 ? "Name a file or a URL, or --kernel, --initramfs and --rootfs." : "A kernel set needs --kernel, --initramfs and --rootfs."),
            var file when set == 0 => file,
            _ => throw CtlException.Usage("A kernel set is --kernel, --initramfs and --rootfs, without another file."),
        };
    }

    /// <exception cref="CtlException">A flag has a value that it cannot have.</exception>
    public ImportImageHeader Header(Invocation invocation)
    {
        long virtualSize = 0;
        if (invocation.Get(_virtualSize) is { } size && (!Quantity.TryBytes(size, null, out virtualSize) || virtualSize <= 0))
        {
            throw CtlException.Usage($"--virtual-size: '{size}' is no size; write it as 20GiB.");
        }

        return new()
        {
            Project = invocation.Project,
            Name = invocation.Get(_name) ?? "",
            RequestId = invocation.Get(_requestId) ?? invocation.NewRequestId(),
            Format = invocation.Get(_format) is { } format ? EnumWords.Parse<ImageFormat>("--format")(format)
                : Source(invocation) is null ? ImageFormat.Kernel : ImageFormat.Unspecified,
            Checksum = invocation.Get(_checksum) ?? "",
            Architecture = invocation.Get(_architecture) ?? "",
            DefaultUser = invocation.Get(_user) ?? "",
            OperatingSystem = invocation.Get(_system) ?? "",
            VirtualSizeBytes = virtualSize,
        };
    }

    /// <summary>The files of a kernel set, open, in the order in which the header names them.</summary>
    /// <exception cref="CtlException">One cannot be read.</exception>
    public IReadOnlyList<(ImageFileRole Role, FileStream File)> KernelSet(Invocation invocation)
    {
        List<(ImageFileRole, FileStream)> files = [];
        try
        {
            foreach (var (role, option) in new[] { (ImageFileRole.Kernel, _kernel), (ImageFileRole.Initramfs, _initramfs), (ImageFileRole.Rootfs, _rootfs) })
            {
                files.Add((role, InputFile.Open(invocation.Get(option)!)));
            }

            return files;
        }
        catch
        {
            files.ForEach(file => file.Item2.Dispose());
            throw;
        }
    }
}
