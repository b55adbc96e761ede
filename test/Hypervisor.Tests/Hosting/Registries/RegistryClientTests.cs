using System.Security.Cryptography;
using System.Text;
using Hypervisor.Hosting.Configuration;
using Hypervisor.Hosting.Randomness;
using Hypervisor.Hosting.Registries;
using Microsoft.AspNetCore.Http;
using Xunit;

namespace Hypervisor.Tests.Hosting.Registries;

/// <summary>
/// Protects: whatever a registry does, what arrives is what was asked for, within bounds, and credentials go nowhere but where
/// they belong (SecretsSilent, HostConfined).
/// </summary>
public sealed class RegistryClientTests : IAsyncLifetime
{
    private const string Password = "pass-7f3a91";
    private static readonly byte[] Blob = RandomNumberGenerator.GetBytes(3_000_000);

    private readonly RegistryClient _client = new(RealClock.Instance, new SystemRandomSource());
    private FakeRegistry _registry = null!;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync() => _registry = await FakeRegistry.StartAsync();

    public async ValueTask DisposeAsync()
    {
        _client.Dispose();
        await _registry.DisposeAsync();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_transfer_that_is_cut_goes_on_where_it_stopped(bool ignoresRanges)
    {
        var digest = _registry.AddBlob(Blob);
        _registry.IgnoresRanges = ignoresRanges;
        var cuts = 2;
        _registry.Misbehave = async context =>
        {
            if (Interlocked.Decrement(ref cuts) < 0)
            {
                return false;
            }

            await _registry.ServeAsync(context, Blob, Blob.Length * (cuts == 1 ? 6 : 8) / 10);
            return true;
        };

        Assert.Equal(Blob, await CopyAsync(_registry.Source(), digest));
        var ranges = _registry.Requests.Select(request => request.Range).ToList();
        Assert.Equal(3, ranges.Count);
        Assert.Equal("", ranges[0]);
        // What was on its way when the connection broke may be lost; that something arrived is what counts.
        Assert.All(ranges[1..], range => Assert.StartsWith("bytes=", range, StringComparison.Ordinal));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_transfer_that_is_always_cut_at_the_same_byte_is_given_up_and_its_end_is_named(bool ignoresRanges)
    {
        var digest = _registry.AddBlob(Blob);
        _registry.IgnoresRanges = ignoresRanges;
        _registry.Misbehave = async context =>
        {
            await _registry.ServeAsync(context, Blob, Blob.Length * 6 / 10);
            return true;
        };

        var cut = await Assert.ThrowsAsync<RegistryException>(() => CopyAsync(_registry.Source(), digest));

        Assert.Equal(RegistryFailure.Unavailable, cut.Failure);
        // Cut at once, the head of an answer may be lost with the rest.
        Assert.Matches($"ended the transfer of blob {digest} after [0-9]+ of {Blob.Length} bytes|broke the connection off", cut.Message);
        // How much of a broken connection arrives varies, and each try that got further begins the count anew.
        Assert.InRange(_registry.Requests.Count, RegistryLimits.Attempts, 4 * RegistryLimits.Attempts);
    }

    [Fact]
    public async Task A_transfer_can_begin_in_the_middle()
    {
        var digest = _registry.AddBlob(Blob);
        Assert.Equal(Blob[1_000_000..], await CopyAsync(_registry.Source(), digest, 1_000_000));
        Assert.Equal("bytes=1000000-", Assert.Single(_registry.Requests).Range);
    }

    [Fact]
    public async Task Never_more_than_its_size_is_taken_of_a_blob_without_end()
    {
        _registry.Misbehave = async context =>
        {
            var piece = new byte[64 << 10];
            while (!context.RequestAborted.IsCancellationRequested)
            {
                await context.Response.Body.WriteAsync(piece, context.RequestAborted);
            }

            return true;
        };
        var taken = await CopyAsync(_registry.Source(), RegistryClient.DigestOf(Blob));
        Assert.Equal(Blob.Length, taken.Length);
        var document = await FailureAsync(() => _client.GetManifestAsync(_registry.Source(), "latest", Cancel));
        Assert.Equal(RegistryFailure.Invalid, document.Failure);
    }

    [Fact]
    public async Task A_blob_of_another_length_is_refused_before_it_is_read()
    {
        var digest = _registry.AddBlob(Blob);
        var failure = await FailureAsync(() => _client.CopyBlobAsync(_registry.Source(), digest, Blob.Length - 1, 0, (_, _) => throw new InvalidOperationException(), Cancel));
        Assert.Equal(RegistryFailure.Invalid, failure.Failure);
    }

    [Fact]
    public async Task A_registry_that_lies_about_a_digest_is_not_believed()
    {
        var digest = _registry.AddManifest("app", "1", "{}"u8.ToArray());
        _registry.Manifests["app@" + digest] = ("{ }"u8.ToArray(), "x");
        Assert.Equal(RegistryFailure.Invalid, (await FailureAsync(() => _client.GetManifestAsync(_registry.Source(), digest, Cancel))).Failure);
        _registry.Misbehave = context =>
        {
            context.Response.Headers["Docker-Content-Digest"] = "sha256:" + new string('0', 64);
            return Task.FromResult(false);
        };
        Assert.Equal(RegistryFailure.Invalid, (await FailureAsync(() => _client.GetManifestAsync(_registry.Source(), "1", Cancel))).Failure);
        var blob = _registry.AddBlob("good"u8.ToArray());
        _registry.Blobs[blob] = "evil"u8.ToArray();
        Assert.Equal(RegistryFailure.Invalid, (await FailureAsync(() => _client.GetDocumentAsync(_registry.Source(), blob, Cancel))).Failure);
    }

    [Fact]
    public async Task Who_a_registry_refers_to_gets_no_credentials()
    {
        await using var storage = await FakeRegistry.StartAsync();
        var digest = storage.AddBlob(Blob);
        _registry.Misbehave = context =>
        {
            if (context.Request.Headers.Authorization.Count == 0)
            {
                context.Response.StatusCode = 401;
                context.Response.Headers.WWWAuthenticate = "Basic realm=\"r\"";
            }
            else
            {
                context.Response.Redirect($"http://{storage.Name}{context.Request.Path}?signed=1");
            }

            return Task.FromResult(true);
        };
        var source = new RegistrySource("app", [WithPassword(_registry)], [storage.Host with { Username = "other", Password = new Secret("others") }]);
        Assert.Equal(Blob, await CopyAsync(source, digest));
        Assert.Contains(_registry.Requests, request => request.Authorization.StartsWith("Basic ", StringComparison.Ordinal));
        Assert.All(storage.Requests, request => Assert.Equal("", request.Authorization));
    }

    [Fact]
    public async Task Who_a_registry_refers_to_cannot_ask_for_its_credentials()
    {
        await using var thief = await FakeRegistry.StartAsync();
        thief.Misbehave = thief.WithTokens(null, null, () => "token");
        _registry.Misbehave = context =>
        {
            context.Response.Redirect($"http://{thief.Name}{context.Request.Path}");
            return Task.FromResult(true);
        };
        var failure = await FailureAsync(() => _client.GetManifestAsync(new("app", [WithPassword(_registry)], [thief.Host]), "1", Cancel));
        Assert.Equal(RegistryFailure.Unauthorized, failure.Failure);
        Assert.All(thief.Requests, request => Assert.Equal("", request.Authorization));
    }

    [Fact]
    public async Task A_registry_that_only_a_user_named_sends_us_to_nobody_in_the_operators_network()
    {
        await using var inside = await FakeRegistry.StartAsync();
        var by = new RegistryHost("registry.example");
        Assert.False(new RegistrySource("app", [by], [inside.Host]).Referred(new Uri($"http://{inside.Name}/x"), by).Trusted);
        Assert.True(new RegistrySource("app", [by], [inside.Host]).Referred(new Uri($"http://{inside.Name}/x"), by with { Trusted = true }).Trusted);
    }

    [Theory]
    [InlineData("http://127.0.0.1:1/x")]
    [InlineData("https://127.0.0.1:1/x")]
    [InlineData("https://localhost:1/x")]
    [InlineData("https://[::ffff:169.254.169.254]/x")]
    [InlineData("file:///etc/passwd")]
    public async Task A_reference_into_our_own_network_is_not_followed(string location)
    {
        _registry.Misbehave = context =>
        {
            context.Response.Redirect(location);
            return Task.FromResult(true);
        };
        Assert.Equal(RegistryFailure.Refused, (await FailureAsync(() => _client.GetManifestAsync(_registry.Source(), "1", Cancel))).Failure);
    }

    [Fact]
    public async Task A_registry_at_a_private_address_that_no_operator_named_is_not_called()
    {
        var source = new RegistrySource("app", [new RegistryHost(_registry.Name)], []);
        var failure = await FailureAsync(() => _client.GetManifestAsync(source, "1", Cancel));
        Assert.Equal(RegistryFailure.Refused, failure.Failure);
        Assert.Contains("registries:", failure.Message, StringComparison.Ordinal);
        Assert.Empty(_registry.Requests);
    }

    [Fact]
    public async Task Redirects_without_end_are_given_up()
    {
        _registry.Misbehave = context =>
        {
            context.Response.Redirect(context.Request.Path);
            return Task.FromResult(true);
        };
        Assert.Equal(RegistryFailure.Invalid, (await FailureAsync(() => _client.GetManifestAsync(_registry.Source(), "1", Cancel))).Failure);
        Assert.Equal(6, _registry.Requests.Count);
    }

    [Theory]
    [InlineData(null, null)]
    [InlineData("ann", Password)]
    public async Task Tokens_are_fetched_for_our_own_scope_and_used_again(string? username, string? password)
    {
        _registry.AddManifest("team/app", "1", "{}"u8.ToArray());
        var token = "token-1";
        _registry.Misbehave = _registry.WithTokens(username, password, () => token);
        var source = new RegistrySource("team/app", [_registry.Host with { Username = username ?? "", Password = new Secret(password ?? "") }], []);
        await _client.GetManifestAsync(source, "1", Cancel);
        await _client.GetManifestAsync(source, "1", Cancel);
        token = "token-2";
        await _client.GetManifestAsync(source, "1", Cancel);

        var asked = _registry.Requests.Where(request => request.Path == "/token").ToList();
        Assert.Equal(2, asked.Count);
        Assert.All(asked, request => Assert.Equal("?service=the%20%22registry%22&scope=repository%3Ateam%2Fapp%3Apull", request.Query));
        Assert.DoesNotContain(_registry.Requests, request => request.Path != "/token" && request.Authorization.StartsWith("Basic", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("Basic realm=\"x\"")]
    [InlineData("Bearer realm=\"http://REGISTRY/token\",service=\"s\"")]
    [InlineData("Negotiate")]
    public async Task Refused_credentials_are_said_so_and_never_shown(string challenge)
    {
        _registry.Misbehave = context =>
        {
            context.Response.StatusCode = 401;
            context.Response.Headers.WWWAuthenticate = challenge.Replace("REGISTRY", _registry.Name, StringComparison.Ordinal);
            return Task.FromResult(true);
        };
        var failure = await FailureAsync(() => _client.GetManifestAsync(new("app", [WithPassword(_registry)], []), "1", Cancel));
        Assert.Equal(RegistryFailure.Unauthorized, failure.Failure);
        foreach (var secret in new[] { Password, Convert.ToBase64String(Encoding.UTF8.GetBytes("ann:" + Password)) })
        {
            Assert.DoesNotContain(secret, failure.ToString(), StringComparison.Ordinal);
            Assert.DoesNotContain(secret, WithPassword(_registry).ToString(), StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task A_token_server_in_our_own_network_or_without_encryption_is_not_asked()
    {
        foreach (var realm in new[] { "http://203.0.113.1/token", "https://127.0.0.1:1/token" })
        {
            _registry.Misbehave = context =>
            {
                context.Response.StatusCode = 401;
                context.Response.Headers.WWWAuthenticate = $"Bearer realm=\"{realm}\",service=\"s\"";
                return Task.FromResult(true);
            };
            var failure = await FailureAsync(() => _client.GetManifestAsync(new("app", [WithPassword(_registry)], []), "1", Cancel));
            Assert.Equal(RegistryFailure.Refused, failure.Failure);
        }
    }

    [Theory]
    [InlineData("{}")]
    [InlineData("[]")]
    [InlineData("{\"token\":\"a\\r\\nX: y\"}")]
    [InlineData("not json")]
    public async Task What_is_no_token_is_refused(string answer)
    {
        _registry.Misbehave = async context =>
        {
            if (context.Request.Path == "/token")
            {
                await context.Response.WriteAsync(answer);
                return true;
            }

            context.Response.StatusCode = 401;
            context.Response.Headers.WWWAuthenticate = $"Bearer realm=\"http://{_registry.Name}/token\"";
            return true;
        };
        Assert.Equal(RegistryFailure.Invalid, (await FailureAsync(() => _client.GetManifestAsync(_registry.Source(), "1", Cancel))).Failure);
    }

    [Fact]
    public async Task A_registry_that_is_asked_too_often_is_left_alone_as_long_as_it_wants()
    {
        _registry.AddManifest("app", "1", "{}"u8.ToArray());
        var refusals = 1;
        _registry.Misbehave = context =>
        {
            context.Response.StatusCode = 429;
            context.Response.Headers.RetryAfter = "1";
            return Task.FromResult(Interlocked.Decrement(ref refusals) >= 0);
        };
        var begun = RealClock.Instance.GetTimestamp();
        await Assert.ThrowsAsync<RegistryException>(() => _client.GetManifestAsync(_registry.Source(), "2", Cancel));
        Assert.True(RealClock.Instance.GetElapsedTime(begun) >= TimeSpan.FromSeconds(0.9));

        _registry.Misbehave = context =>
        {
            context.Response.StatusCode = 429;
            context.Response.Headers.RetryAfter = "3600";
            return Task.FromResult(true);
        };
        var failure = await FailureAsync(() => _client.GetManifestAsync(_registry.Source(), "1", Cancel));
        Assert.Equal((RegistryFailure.RateLimited, TimeSpan.FromHours(1)), (failure.Failure, failure.RetryAfter));
        Assert.Contains("3600 s", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_mirrors_do_not_have_is_asked_of_the_registry_itself()
    {
        await using var mirror = await FakeRegistry.StartAsync();
        var down = new RegistryHost("127.0.0.1:1") { Trusted = true, PlainHttp = true };
        var digest = _registry.AddBlob(Blob);
        _registry.AddManifest("app", "1", "{}"u8.ToArray());
        var source = new RegistrySource("app", [mirror.Host, down, _registry.Host], []);
        await _client.GetManifestAsync(source, "1", Cancel);
        mirror.Misbehave = async context =>
        {
            await mirror.ServeAsync(context, Blob, Blob.Length / 2);
            return true;
        };
        Assert.Equal(Blob, await CopyAsync(source, digest));
        Assert.Contains(_registry.Requests, request => request.Path.Contains("/blobs/", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_registry_that_is_down_is_named()
    {
        var failure = await FailureAsync(() => _client.GetManifestAsync(
            new("app", [new RegistryHost("127.0.0.1:1") { Trusted = true, PlainHttp = true }], []), "1", Cancel));
        Assert.Equal(RegistryFailure.Unavailable, failure.Failure);
        Assert.Contains("127.0.0.1:1", failure.Message, StringComparison.Ordinal);
    }

    private static RegistryHost WithPassword(FakeRegistry registry) => registry.Host with { Username = "ann", Password = new Secret(Password) };

    private static async Task<RegistryException> FailureAsync(Func<Task> work) => await Assert.ThrowsAsync<RegistryException>(work);

    private async Task<byte[]> CopyAsync(RegistrySource source, string digest, long offset = 0)
    {
        using var taken = new MemoryStream();
        await _client.CopyBlobAsync(
            source, digest, Blob.Length, offset,
            (piece, _) =>
            {
                taken.Write(piece.Span);
                return ValueTask.CompletedTask;
            },
            Cancel);
        return taken.ToArray();
    }
}
