using System.Text;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Guests;
using Hypervisor.Agent.Guests.Boot;
using Hypervisor.Agent.Guests.Channel;
using Hypervisor.Hosting.Randomness;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;

namespace Hypervisor.ClusterTests.Guests;

/// <summary>A guest with our kernel and init in QEMU's microvm machine, without any driver of ours.</summary>
internal sealed class BareGuest : IAsyncDisposable
{
    public static readonly TimeSpan Boot = TimeSpan.FromSeconds(60);

    private readonly string _folder = Directory.CreateTempSubdirectory("hvg-").FullName;
    private readonly RealProcess _qemu;

    private BareGuest(string root, GuestConfig config, long? tsc)
    {
        Config = config;
        ConfigDrive.Write(At("config"), config, new SystemRandomSource());
        File.Copy(root, At("root"));
        // Larger than what is in it: it is grown.
        using (var disk = File.OpenHandle(At("root"), FileMode.Open, FileAccess.Write))
        {
            RandomAccess.SetLength(disk, 64 << 20);
        }

        var files = new GuestBootFiles(Path.Combine(BootFolder, "guest"));
        files.Check();
        _qemu = new RealProcess("qemu", "qemu-system-x86_64",
        [
            "-M", "microvm", "-accel", "tcg", "-m", "192", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-kernel", files.Kernel, "-initrd", files.Initramfs, "-append", KernelCommandLine.OfOurs(KernelCommandLine.OfMicrovm(tsc)),
            "-serial", $"file:{At("console")}",
            "-blockdev", $"driver=raw,node-name=root,file.driver=file,file.filename={At("root")}", "-device", "virtio-blk-device,drive=root,serial=root",
            "-blockdev", $"driver=raw,node-name=config,file.driver=file,file.filename={At("config")}", "-device", "virtio-blk-device,drive=config,serial=config",
            "-netdev", "user,id=net,restrict=on", "-device", "virtio-net-device,netdev=net,mac=02:00:0a:80:00:02",
            "-device", "virtio-serial-device",
            "-chardev", $"socket,id=control,path={Socket},server=on,wait=off", "-device", "virtserialport,chardev=control,name=zixiao.control",
            "-chardev", $"file,id=out,path={At("out")},append=on", "-device", "virtserialport,chardev=out,name=zixiao.stdout",
            "-chardev", $"file,id=err,path={At("err")},append=on", "-device", "virtserialport,chardev=err,name=zixiao.stderr",
        ],
        At("log"));
    }

    public GuestConfig Config { get; }

    public InstanceId Id { get; } = new("11111111-2222-4333-8444-555555555555");

    public string Socket => At("channel");

    public string Output => Text("out");

    public string Errors => Text("err");

    public GuestChannels Channels { get; private set; } = NewChannels();

    /// <param name="root">An ext4 file system; copied.</param>
    public static async Task<BareGuest> StartAsync(string root, GuestConfig config)
    {
        var guest = new BareGuest(root, config, await HostTimestampCounter.MeasureKiloHertzAsync(RealTime.Clock, CancellationToken.None));
        guest._qemu.Start();
        return guest;
    }

    /// <summary>A root file system of Debian's busybox, with two users and a script; made without mounting anything.</summary>
    public static async Task MakeRootAsync(string path, string folder)
    {
        foreach (var name in new[] { "bin", "etc", "proc", "sys", "dev", "tmp", "root" })
        {
            Directory.CreateDirectory(Path.Combine(folder, name));
        }

        File.Copy("/bin/busybox", Path.Combine(folder, "bin/busybox"));
        foreach (var applet in (await Shell.RunAsync("/bin/busybox", "--list")).Split('\n', StringSplitOptions.RemoveEmptyEntries).Where(name => name != "busybox"))
        {
            File.CreateSymbolicLink(Path.Combine(folder, "bin", applet), "busybox");
        }

        await File.WriteAllTextAsync(Path.Combine(folder, "etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nworker:x:1000:1001:w:/home/worker:/bin/sh\n");
        await File.WriteAllTextAsync(Path.Combine(folder, "etc/group"), "root:x:0:\nworker:x:1001:\nextra:x:1002:worker\n");
        await File.WriteAllTextAsync(Path.Combine(folder, "etc/plain"), "no program\n");
        await Shell.RunAsync("truncate", "-s", "24M", path);
        await Shell.RunAsync("mke2fs", "-q", "-t", "ext4", "-d", folder, path);
    }

    /// <summary>As an agent that was killed and came back: its connection is gone, the guest is not.</summary>
    public async Task ReplaceAgentAsync()
    {
        await Channels.DisposeAsync();
        Channels = NewChannels();
    }

    public async Task<GuestExit> EndAsync(long? run = null)
    {
        await RealTime.UntilAsync("the guest powers off", Boot, () => !_qemu.IsRunning);
        return ConfigDrive.ReadExit(At("config"), run ?? Config.Run) ?? throw new InvalidOperationException($"no exit; console: {Text("console")} {_qemu.Log}");
    }

    public async Task<(string Output, string Errors, ExitStatus Exit)> RunAsync(ExecInput request, string input = "")
    {
        await using var process = await Channels.ExecAsync(Id, Socket, request, CancellationToken.None);
        var output = ReadAllAsync(process, LogStream.Stdout);
        var errors = ReadAllAsync(process, LogStream.Stderr);
        await process.WriteAsync(Encoding.UTF8.GetBytes(input), CancellationToken.None);
        await process.CloseInputAsync(CancellationToken.None);
        var exit = await process.ExitAsync(CancellationToken.None);
        return (await output, await errors, exit);
    }

    public static ExecInput Script(string script) => new() { Command = { "sh", "-c", script }, AttachStdin = true };

    public static async Task<string> ReadAllAsync(IInstanceProcess process, LogStream stream)
    {
        var text = new MemoryStream();
        var buffer = new byte[8192];
        while (await process.ReadAsync(stream, buffer, CancellationToken.None) is > 0 and var read)
        {
            text.Write(buffer, 0, read);
        }

        return Encoding.UTF8.GetString(text.ToArray());
    }

    public async Task UntilAsync(string what, Func<bool> condition)
    {
        try
        {
            await RealTime.UntilAsync(what, Boot, condition);
        }
        catch (TimeoutException late)
        {
            throw new TimeoutException($"{late.Message}; console: {Text("console")} {_qemu.Log} output: {Output} errors: {Errors}", late);
        }
    }

    public async ValueTask DisposeAsync()
    {
        await Channels.DisposeAsync();
        await _qemu.DisposeAsync();
        Directory.Delete(_folder, recursive: true);
    }

    private static string BootFolder => LocalCluster.Binaries;

    private static GuestChannels NewChannels() => new(new SystemRandomSource(), RealTime.Clock);

    private string At(string name) => Path.Combine(_folder, name);

    private string Text(string name)
    {
        using var file = File.Open(At(name), FileMode.OpenOrCreate, FileAccess.Read, FileShare.ReadWrite);
        return new StreamReader(file).ReadToEnd();
    }
}
