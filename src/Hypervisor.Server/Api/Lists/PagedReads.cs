using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using Google.Protobuf.WellKnownTypes;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;
using Hypervisor.Server.Api.Errors;
using Hypervisor.Server.State;

namespace Hypervisor.Server.Api.Lists;

/// <summary>
/// Lists in pages that all show the first page's revision: the view behind a list that is not finished is kept for a while.
/// When it is gone (too late, too many lists, another replica), the next page is refused as ABORTED, LIST_EXPIRED.
/// </summary>
internal sealed class PagedReads(ViewReads reads, TimeProvider time)
{
    private readonly Lock _lock = new();

    // Oldest use first.
    private readonly List<PinnedView> _pins = [];

    /// <summary>The view to list from and where to go on in it.</summary>
    /// <param name="fingerprint">Everything that decides which objects are listed: a token works for the same list only.</param>
    public async ValueTask<ListPage> BeginAsync(string pageToken, string fingerprint, Consistency consistency, CancellationToken cancellationToken)
    {
        var digest = Digest(fingerprint);
        if (pageToken.Length == 0)
        {
            var view = await reads.ViewAsync(consistency, cancellationToken);
            return new(view, null, digest, consistency == Consistency.Stale ? reads.Age : null);
        }

        if (Token.Read(pageToken) is not { } token)
        {
            throw ApiErrors.InvalidArgument("page_token", "is not one that this API gave out; begin again without a token.");
        }

        if (token.Digest != digest)
        {
            throw ApiErrors.InvalidArgument("page_token", "belongs to a list with other filters; repeat them unchanged or begin again without a token.");
        }

        return new(Pinned(token.Version), token.LastKey, digest, null);
    }

    /// <param name="lastKey">Key of the last object of this page when more follow, else null.</param>
    public ListMeta End(ListPage page, string? lastKey)
    {
        var meta = new ListMeta { ResourceVersion = page.View.ResourceVersion.Value };
        if (page.Age is { } age)
        {
            meta.Age = Duration.FromTimeSpan(age);
        }

        if (lastKey is not null)
        {
            meta.NextPageToken = new Token(page.View.ResourceVersion, page.Digest, lastKey).Write();
            Pin(page.View);
        }

        return meta;
    }

    /// <summary>The size of a page within bounds.</summary>
    public static int PageSize(int asked, int maximum, FieldViolations violations)
    {
        if (asked < 0 || asked > maximum)
        {
            violations.Add("page_size", $"{asked} is outside 0 to {maximum}; 0 means {Limits.Api.DefaultPageSize}.");
        }

        return asked == 0 ? Limits.Api.DefaultPageSize : asked;
    }

    private ClusterView Pinned(ResourceVersion version)
    {
        lock (_lock)
        {
            DropExpired();
            var index = _pins.FindIndex(pin => pin.View.ResourceVersion == version);
            if (index < 0)
            {
                throw ApiErrors.Aborted(
                    "LIST_EXPIRED",
                    $"The list's revision is no longer held (kept for {Limits.Api.ListPinTime.TotalSeconds} s between pages); begin again without page_token.");
            }

            return _pins[index].View;
        }
    }

    private void Pin(ClusterView view)
    {
        lock (_lock)
        {
            _pins.RemoveAll(pin => pin.View.ResourceVersion == view.ResourceVersion);
            DropExpired();
            if (_pins.Count == Limits.Api.ListPins)
            {
                _pins.RemoveAt(0);
            }

            _pins.Add(new(view, time.GetTimestamp()));
        }
    }

    private void DropExpired() => _pins.RemoveAll(pin => time.GetElapsedTime(pin.UsedAt) > Limits.Api.ListPinTime);

    private static long Digest(string fingerprint) =>
        BinaryPrimitives.ReadInt64BigEndian(SHA256.HashData(Encoding.UTF8.GetBytes(fingerprint)));

    private readonly record struct PinnedView(ClusterView View, long UsedAt);

    private readonly record struct Token(ResourceVersion Version, long Digest, string LastKey)
    {
        private const int FixedBytes = 16;

        public string Write()
        {
            var key = Encoding.UTF8.GetBytes(LastKey);
            var bytes = new byte[FixedBytes + key.Length];
            BinaryPrimitives.WriteInt64BigEndian(bytes, Version.Value);
            BinaryPrimitives.WriteInt64BigEndian(bytes.AsSpan(8), Digest);
            key.CopyTo(bytes.AsSpan(FixedBytes));
            return Convert.ToBase64String(bytes);
        }

        public static Token? Read(string text)
        {
            var bytes = new byte[Limits.Api.PageTokenLength];
            if (text.Length > Limits.Api.PageTokenLength || !Convert.TryFromBase64String(text, bytes, out var length) || length <= FixedBytes)
            {
                return null;
            }

            return new(
                new(BinaryPrimitives.ReadInt64BigEndian(bytes)),
                BinaryPrimitives.ReadInt64BigEndian(bytes.AsSpan(8)),
                Encoding.UTF8.GetString(bytes.AsSpan(FixedBytes, length - FixedBytes)));
        }
    }
}

/// <summary>Where a page begins.</summary>
/// <param name="AfterKey">Objects up to this key were listed; null at the beginning.</param>
/// <param name="Digest">Of what is listed.</param>
/// <param name="Age">Set when the view may be stale.</param>
internal sealed record ListPage(ClusterView View, string? AfterKey, long Digest, TimeSpan? Age)
{
    /// <summary>The first key of this page, for objects whose keys begin with the prefix.</summary>
    public string Start(string prefix) => AfterKey is null ? prefix : AfterKey + "\0";
}
