namespace Hypervisor.TestCluster;

/// <summary>What differs between test clusters.</summary>
internal sealed record LocalClusterOptions
{
    /// <summary>The store of every cluster whose test does not choose one itself.</summary>
    public const string StoreVariable = "HYPERVISOR_TEST_STORE";

    public bool ShimGroup { get; init; } = true;

    /// <summary>0 is the embedded store, which is the default unless <see cref="StoreVariable"/> says "etcd": then it is 3.</summary>
    public int EtcdMembers { get; init; } = Environment.GetEnvironmentVariable(StoreVariable) switch
    {
        null or "" or "embedded" => 0,
        "etcd" => 3,
        var other => throw new InvalidOperationException($"{StoreVariable}={other}: write embedded or etcd"),
    };

    /// <summary>With a libvirtd, which VMs need.</summary>
    public bool Libvirt { get; init; }

    /// <summary>Of the file system under containerd and the agent; null is that of the machine.</summary>
    public long? NodeDiskBytes { get; init; }

    /// <summary>Null is the agent's own default.</summary>
    public bool? ForeignArchitectures { get; init; }

    /// <summary>More of the agent's configuration.</summary>
    public string AgentYaml { get; init; } = "";

    /// <summary>Machines beside the first, whose node is "n1".</summary>
    public IReadOnlyList<OtherNode> OtherNodes { get; init; } = [];

    /// <summary>More of the server's configuration.</summary>
    public string ServerYaml { get; init; } = "";

    public TimeSpan HeartbeatInterval { get; init; } = TimeSpan.FromMilliseconds(500);

    public TimeSpan HeartbeatTimeout { get; init; } = TimeSpan.FromSeconds(3);
}

/// <param name="AgentYaml">More of its agent's configuration.</param>
internal sealed record OtherNode(string Hostname, string AgentYaml = "");
