using System.Net;
using Hypervisor.Agent.Networking;
using Hypervisor.Agent.Networking.Attachments;
using Hypervisor.Agent.Networking.Interop;
using Hypervisor.Agent.Networking.Netlink;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Win32.SafeHandles;
using Xunit;

namespace Hypervisor.ClusterTests.Networking;

/// <summary>
/// A host and its neighbour, each a network namespace without a name, joined by a cable; the node network runs in the host.
/// The machine's own network is never touched. Everything ends with the handles.
/// </summary>
internal sealed class NetworkLab : IAsyncDisposable
{
    public static readonly IPAddress HostAddress = IPAddress.Parse("198.51.100.1");
    public static readonly IPAddress NeighbourAddress = IPAddress.Parse("198.51.100.2");
    public static readonly IPNetwork Subnet = IPNetwork.Parse("10.66.0.0/24");
    public static readonly IPAddress Gateway = IPAddress.Parse("10.66.0.1");

    private readonly string _directory = Directory.CreateTempSubdirectory("hv-net-").FullName;
    private readonly List<LabInstance> _attached = [];
    private readonly Func<NetworkOptions, NetworkOptions> _configure;
    private int _instances;

    /// <param name="configure">What differs from what an agent is told by default.</param>
    public NetworkLab(Func<NetworkOptions, NetworkOptions>? configure = null)
    {
        _configure = configure ?? (options => options);

        // As /run/hypervisor: the DHCP server reads its files without root's rights.
        File.SetUnixFileMode(_directory, File.GetUnixFileMode(_directory) | UnixFileMode.GroupExecute | UnixFileMode.OtherExecute);
        Host = NewNamespace();
        Neighbour = NewNamespace();
        InNamespace(Host, () =>
        {
            using var route = NetlinkSocket.Open();
            route.SetUp(1);
            route.CreateVeth(new("uplink", 0, "uplink", HostAddress.ToHardwareAddressForTest(), (int)Neighbour.DangerousGetHandle()));
            SetUp(route, HostAddress);
        });
        InNamespace(Neighbour, () =>
        {
            using var route = NetlinkSocket.Open();
            route.SetUp(1);
            SetUp(route, NeighbourAddress);
        });
        // New namespaces take it over from the machine, where something else may forward.
        Sysctl("net/ipv4/ip_forward", "0");
        Network = NewNetwork();
    }

    public static CancellationToken Deadline => TestContext.Current.CancellationToken;

    public SafeFileHandle Host { get; }

    public SafeFileHandle Neighbour { get; }

    public NodeNetwork Network { get; private set; }

    public string RunDirectory => Path.Combine(_directory, "run");

    public string DataDirectory => Path.Combine(_directory, "data");

    public static NetworkSpec Publishing(params (int Host, int Instance)[] ports) =>
        new() { Ports = { ports.Select(port => new PublishedPort { HostPort = port.Host, InstancePort = port.Instance, Protocol = IpProtocol.Tcp }) } };

    public static Epoch EpochOf(int counter) => new((1L << 48) + counter);

    public InstanceId NewId() => new($"00000000-0000-4000-8000-{++_instances:x12}");

    /// <summary>A network with nothing attached yet, ready.</summary>
    public static async Task<NetworkLab> StartAsync(Func<NetworkOptions, NetworkOptions>? configure = null)
    {
        var lab = new NetworkLab(configure);
        await lab.Network.EnsureAsync(Subnet, Deadline);
        return lab;
    }

    public async Task<LabInstance> AttachAsync(NetworkSpec? spec = null)
    {
        var id = NewId();
        var attachment = await Network.AttachAsync(id, EpochOf(1), spec ?? new(), ConnectionKind.Namespace, "", Deadline);
        var instance = new LabInstance(id, attachment, OpenPath(attachment.NamespacePath));
        _attached.Add(instance);
        return instance;
    }

    /// <summary>A machine, switched on: what it holds of its tap is an interface in a namespace of its own.</summary>
    public async Task<LabInstance> AttachTapAsync(NetworkSpec? spec = null, string hostname = "guest")
    {
        var id = NewId();
        var attachment = await Network.AttachAsync(id, EpochOf(1), spec ?? new(), ConnectionKind.Tap, hostname, Deadline);
        return SwitchOn(id, attachment);
    }

    public LabInstance SwitchOn(InstanceId id, NetworkAttachment attachment)
    {
        var guest = new TapGuest(Host, attachment);
        var instance = new LabInstance(id, attachment, guest.Inside) { Guest = guest };
        _attached.Add(instance);
        return instance;
    }

    /// <summary>The agent dies and comes back.</summary>
    public async Task RestartAsync(bool ensure = true)
    {
        Network.Dispose();
        Network = NewNetwork();
        if (ensure)
        {
            await Network.EnsureAsync(Subnet, Deadline);
        }
    }

    /// <summary>Runs something in a namespace, on a thread that ends with it.</summary>
    public static T InNamespace<T>(SafeFileHandle inside, Func<T> work)
    {
        var result = new TaskCompletionSource<T>();
        var thread = new Thread(() =>
        {
            try
            {
                Errno.Check(Libc.SetNamespace(inside, Libc.CloneNewNet), "setns");
                result.SetResult(work());
            }
            catch (Exception failed)
            {
                result.SetException(failed);
            }
        });
        thread.Start();
        thread.Join();
        return result.Task.GetAwaiter().GetResult();
    }

    public static void InNamespace(SafeFileHandle inside, Action work) => InNamespace(inside, () =>
    {
        work();
        return true;
    });

    public string Nft(string command) => InNamespace(Host, () =>
    {
        using var nft = Agent.Networking.Nftables.Nft.Open();
        return nft.Run(command);
    });

    public IReadOnlyList<LinkInfo> HostLinks() => InNamespace(Host, () =>
    {
        using var route = NetlinkSocket.Open();
        return route.ListLinks();
    });

    public void OnHost(Action<NetlinkSocket> work) => InNamespace(Host, () =>
    {
        using var route = NetlinkSocket.Open();
        work(route);
    });

    public string Sysctl(string key, string? value = null) => InNamespace(Host, () =>
    {
        var path = "/proc/sys/" + key;
        if (value is not null)
        {
            File.WriteAllText(path, value);
        }

        return File.ReadAllText(path).Trim();
    });

    public IReadOnlyList<string> Mounts() =>
        [.. File.ReadAllLines("/proc/self/mountinfo").Select(line => line.Split(' ')[4]).Where(mount => mount.StartsWith(_directory, StringComparison.Ordinal))];

    public static string LinkOf(LabInstance instance) =>
        Attachment.LinkPrefix + Convert.ToHexStringLower(instance.Address.GetAddressBytes());

    public async ValueTask DisposeAsync()
    {
        try
        {
            await Network.TearDownAsync(CancellationToken.None);
        }
        finally
        {
            Network.Dispose();
            _attached.ForEach(instance => instance.Guest?.Dispose());
            _attached.ForEach(instance => instance.Inside.Dispose());
            Host.Dispose();
            Neighbour.Dispose();
            foreach (var mount in Mounts())
            {
                Errno.Check(Libc.Unmount(mount, Libc.UnmountDetach), "umount");
            }

            Directory.Delete(_directory, recursive: true);
        }
    }

    public static SafeFileHandle OpenPath(string path) => Errno.Handle(Libc.Open(path, Libc.OpenReadOnlyCloexec, 0), path);

    private NodeNetwork NewNetwork() => new(
        _configure(new NetworkOptions
        {
            DataDirectory = DataDirectory,
            RunDirectory = RunDirectory,
            HostNamespace = $"/proc/self/fd/{(int)Host.DangerousGetHandle()}",
        }),
        RealTime.Clock,
        NullLogger<NodeNetwork>.Instance);

    public static SafeFileHandle NewNamespace()
    {
        SafeFileHandle? made = null;
        var thread = new Thread(() =>
        {
            Errno.Check(Libc.Unshare(Libc.CloneNewNet), "unshare");
            made = OpenPath("/proc/thread-self/ns/net");
        });
        thread.Start();
        thread.Join();
        return made ?? throw new InvalidOperationException("No namespace could be made: the tests need root.");
    }

    private static void SetUp(NetlinkSocket route, IPAddress address)
    {
        var link = route.FindLink("uplink")!;
        route.AddAddress(link.Index, address, 24);
        route.SetUp(link.Index);
    }
}

/// <summary>An instance as the lab sees it.</summary>
internal sealed record LabInstance(InstanceId Id, NetworkAttachment Attachment, SafeFileHandle Inside)
{
    public IPAddress Address => Attachment.Address;

    /// <summary>Null for a container.</summary>
    public TapGuest? Guest { get; init; }
}
