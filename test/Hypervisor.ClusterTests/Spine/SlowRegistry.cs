using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text.Json;
using Hypervisor.ClusterTests.Faults;
using Hypervisor.TestCluster;
using Hypervisor.Tests.Hosting.Registries;
using Microsoft.AspNetCore.Http;

namespace Hypervisor.ClusterTests.Spine;

/// <summary>A registry on a cluster's machine with images whose last layer comes slowly, and from where it was asked for.</summary>
internal sealed class SlowRegistry : IAsyncDisposable
{
    private const int Port = 5000;
    private const int Steps = 20;
    private const int LayerBytes = 1 << 20;
    private const string Media = "application/vnd.oci.image.";

    private static readonly TimeSpan Step = TimeSpan.FromMilliseconds(50);
    private static readonly byte[] Shell = OciArchive.Shell();

    private readonly Socket _socket;
    private readonly FakeRegistry _registry;
    private readonly ConcurrentDictionary<string, bool> _slow = new();

    private SlowRegistry(Socket socket, FakeRegistry registry) => (_socket, _registry) = (socket, registry);

    /// <summary>Of one undisturbed transfer of the slow layer.</summary>
    public static TimeSpan Length => Step * Steps;

    public static string ServerYaml { get; } = $$"""
        registries:
          - {host: "127.0.0.1:{{Port}}", plain_http: true}
        """;

    public static async Task<SlowRegistry> StartAsync(LocalCluster cluster)
    {
        var socket = await Linux.ListenInsideAsync(cluster.NetworkNamespace, new IPEndPoint(IPAddress.Loopback, Port));
        var registry = new SlowRegistry(socket, await FakeRegistry.StartAsync(socket: socket));
        registry._registry.Misbehave = registry.ServeSlowlyAsync;
        return registry;
    }

    /// <summary>An image that no node has any part of but its shell.</summary>
    /// <returns>Its name.</returns>
    public string AddImage(string name)
    {
        var slow = OciArchive.Layer(tar => OciArchive.File(tar, "slow", RandomNumberGenerator.GetBytes(LayerBytes)));
        var layers = new[] { _registry.AddBlob(Shell), _registry.AddBlob(slow) };
        _slow[layers[1]] = true;
        var configuration = JsonSerializer.SerializeToUtf8Bytes(new
        {
            architecture = "amd64",
            os = "linux",
            config = new { Env = new[] { "PATH=/bin" } },
            rootfs = new { type = "layers", diff_ids = layers },
        });
        _registry.AddManifest(name, "latest", JsonSerializer.SerializeToUtf8Bytes(new
        {
            schemaVersion = 2,
            mediaType = Media + "manifest.v1+json",
            config = new { mediaType = Media + "config.v1+json", digest = _registry.AddBlob(configuration), size = configuration.Length },
            layers = layers.Select(layer => new { mediaType = Media + "layer.v1.tar", digest = layer, size = _registry.Blobs[layer].Length }),
        }));
        return $"127.0.0.1:{Port}/{name}";
    }

    public async ValueTask DisposeAsync()
    {
        await _registry.DisposeAsync();
        _socket.Dispose();
    }

    private async Task<bool> ServeSlowlyAsync(HttpContext context)
    {
        var digest = context.Request.Path.Value!.Split('/')[^1];
        if (!_slow.ContainsKey(digest))
        {
            return false;
        }

        var blob = _registry.Blobs[digest];
        var range = context.Request.Headers.Range.ToString();
        var from = range.Length > 0 ? int.Parse(range["bytes=".Length..^1], System.Globalization.CultureInfo.InvariantCulture) : 0;
        if (from > 0)
        {
            context.Response.StatusCode = 206;
            context.Response.Headers.ContentRange = $"bytes {from}-{blob.Length - 1}/{blob.Length}";
        }

        context.Response.ContentLength = blob.Length - from;
        for (var part = (blob.Length / Steps) + 1; from < blob.Length && !context.RequestAborted.IsCancellationRequested; from += part)
        {
            await Task.Delay(Step, RealTime.Clock);
            await context.Response.Body.WriteAsync(blob.AsMemory(from, Math.Min(part, blob.Length - from)));
        }

        return true;
    }
}
