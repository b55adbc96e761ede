using System.Security.Cryptography;
using Google.Protobuf;
using Hypervisor.Protocol.V1;
using Hypervisor.TestCluster;

namespace Hypervisor.ClusterTests.Guests;

/// <summary>A mirror of Debian packages with one package, made here, in a container of the cluster: guests reach it, and need no internet.</summary>
internal sealed class PackageMirror(LocalCluster cluster)
{
    public const string Instance = "mirror";

    public const string Package = "hypervisor-greeting";

    public const string Version = "1.0-1";

    /// <summary>What the package's program, of its own name, says.</summary>
    public const string Greeting = "hello from a package";

    private const string Control = $"""
        Package: {Package}
        Version: {Version}
        Architecture: all
        Maintainer: The tests <tests@invalid>
        Description: says hello

        """;

    private string? _address;

    /// <summary>Makes the package, and starts what serves it. Needs the busybox image.</summary>
    public async Task StartAsync()
    {
        await cluster.Compute.CreateInstanceAsync(
            GuestCluster.Request(InstanceType.Container, Instance, "httpd", "-f", "-p", "80", "-h", "/var/www"), deadline: LocalCluster.Deadline(10));
        var running = await cluster.InstanceAsync(Instance, "runs", instance => instance.Status.State == InstanceState.Running, seconds: 60);
        _address = running.Status.IpAddresses.Single();
        await new CommandLine(cluster).RunAsync("instance", "cp", await MakeAsync(), $"{Instance}:/var/www");
    }

    /// <summary>Has the guest's apt know this mirror and no other, whatever its image or cloud-init's own list of mirrors says.</summary>
    public IEnumerable<CloudInitFile> Sources() =>
    [
        new() { Path = "/etc/apt/mirror.list", Content = ByteString.CopyFromUtf8($"deb [trusted=yes] http://{_address}/debian ./\n") },
        new()
        {
            Path = "/etc/apt/apt.conf.d/99mirror",
            Content = ByteString.CopyFromUtf8("Dir::Etc::SourceList \"/etc/apt/mirror.list\";\nDir::Etc::SourceParts \"/dev/null\";\n"),
        },
    ];

    /// <summary>A flat repository (sources.list(5)): the package, and the list of packages beside it.</summary>
    private async Task<string> MakeAsync()
    {
        var tree = Directory.CreateDirectory($"{cluster.Folder}/{Package}").FullName;
        Directory.CreateDirectory($"{tree}/DEBIAN");
        Directory.CreateDirectory($"{tree}/usr/bin");
        await File.WriteAllTextAsync($"{tree}/DEBIAN/control", Control);
        await File.WriteAllTextAsync($"{tree}/usr/bin/{Package}", $"#!/bin/sh\necho {Greeting}\n");
        foreach (var folder in new[] { tree, $"{tree}/DEBIAN", $"{tree}/usr", $"{tree}/usr/bin", $"{tree}/usr/bin/{Package}" })
        {
            File.SetUnixFileMode(folder, (UnixFileMode)0x1ED);
        }

        var mirror = Directory.CreateDirectory($"{cluster.Folder}/debian").FullName;
        var file = $"{Package}_{Version}_all.deb";
        await Shell.RunAsync("dpkg-deb", "--build", "--root-owner-group", tree, $"{mirror}/{file}");
        var content = await File.ReadAllBytesAsync($"{mirror}/{file}");
        await File.WriteAllTextAsync(
            $"{mirror}/Packages", $"{Control}Filename: ./{file}\nSize: {content.Length}\nSHA256: {Convert.ToHexStringLower(SHA256.HashData(content))}\n");
        return mirror;
    }
}
