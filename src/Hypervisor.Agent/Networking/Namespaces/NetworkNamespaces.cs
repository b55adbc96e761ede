using Hypervisor.Agent.Networking.Interop;
using Hypervisor.Protocol;
using Microsoft.Win32.SafeHandles;

namespace Hypervisor.Agent.Networking.Namespaces;

/// <summary>
/// Named network namespaces of instances: each a file under one directory on which the namespace is bind-mounted, so that
/// it lives without a process and runtimes can be pointed at it (as ip-netns(8) does). Belongs to the network thread, whose
/// own namespace is that of the host.
/// </summary>
/// <param name="host">The namespace to come back to.</param>
/// <remarks>
/// Runtimes must see the mounts: the agent has to share the mount namespace of containerd, so a systemd unit must set
/// nothing that implies PrivateMounts= (ProtectSystem=, PrivateTmp=, ...).
/// </remarks>
internal sealed class NetworkNamespaces(string directory, SafeFileHandle host)
{
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;

    public string PathOf(InstanceId id) => Path.Combine(directory, id.Value);

    public bool Exists(InstanceId id) => Libc.IsNamespaceFile(PathOf(id));

    /// <summary>Every name in use, also of half-made ones.</summary>
    public IReadOnlyList<InstanceId> List() =>
        Directory.Exists(directory)
            ? [.. Directory.EnumerateFiles(directory).Select(Path.GetFileName).Where(InstanceUid.IsValid).Order(StringComparer.Ordinal).Select(name => new InstanceId(name!))]
            : [];

    /// <summary>Creates the namespace.</summary>
    public void Create(InstanceId id)
    {
        Directory.CreateDirectory(directory, OwnerOnly);
        var path = PathOf(id);
        Remove(id);
        using (new FileStream(path, new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write, UnixCreateMode = UnixFileMode.UserRead }))
        {
        }

        Errno.Check(Libc.Unshare(Libc.CloneNewNet), "cannot create a network namespace");
        try
        {
            Errno.Check(Libc.Mount("/proc/thread-self/ns/net", path, null, Libc.MountBind, 0), $"cannot mount a network namespace on {path}");
        }
        finally
        {
            Return();
        }
    }

    /// <summary>A handle that keeps the namespace alive, for <see cref="Enter"/> and for moving interfaces.</summary>
    public SafeFileHandle Open(InstanceId id) =>
        Errno.Handle(Libc.Open(PathOf(id), Libc.OpenReadOnlyCloexec, 0), $"cannot open network namespace {PathOf(id)}");

    /// <summary>Runs something inside a namespace; sockets opened there stay there.</summary>
    public T Enter<T>(SafeFileHandle inside, Func<T> work)
    {
        Errno.Check(Libc.SetNamespace(inside, Libc.CloneNewNet), "cannot enter a network namespace");
        try
        {
            return work();
        }
        finally
        {
            Return();
        }
    }

    /// <summary>Unmounts and deletes; nothing when it is gone. The namespace itself ends with its last process and socket.</summary>
    public void Remove(InstanceId id)
    {
        var path = PathOf(id);
        for (var mounts = 0; mounts < NetworkLimits.StackedMounts && Libc.IsNamespaceFile(path); mounts++)
        {
            Errno.Check(Libc.Unmount(path, Libc.UnmountDetach | Libc.UnmountNoFollow), $"cannot unmount {path}");
        }

        if (Directory.Exists(directory))
        {
            File.Delete(path);
        }
    }

    /// <summary>Removes the directory once nothing is left in it.</summary>
    public void RemoveDirectory()
    {
        if (Directory.Exists(directory) && !Directory.EnumerateFileSystemEntries(directory).Any())
        {
            Directory.Delete(directory);
        }
    }

    private void Return()
    {
        if (Libc.SetNamespace(host, Libc.CloneNewNet) != 0)
        {
            // What follows would configure an instance's network with the host's rules. Instances outlive the agent.
            Environment.FailFast("The network thread cannot return to the host's network namespace.", Errno.Last("setns"));
        }
    }
}
