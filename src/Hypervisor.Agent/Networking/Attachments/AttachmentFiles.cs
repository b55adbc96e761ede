using System.Net;
using System.Text.Json;
using Hypervisor.Agent.Native;
using Hypervisor.Agent.Networking.Addressing;
using Hypervisor.Protocol;

namespace Hypervisor.Agent.Networking.Attachments;

/// <summary>Records of attachments, one file each, written before the kernel is touched and deleted after it is clean.</summary>
/// <param name="directory">Survives restarts of the agent and reboots.</param>
internal sealed class AttachmentFiles(string directory)
{
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;
    private const string Suffix = ".json";

    public bool Has(InstanceId id) => File.Exists(PathOf(id));

    public void Save(Attachment attachment)
    {
        Directory.CreateDirectory(directory, OwnerOnly | UnixFileMode.UserExecute);
        WholeFile.Write(PathOf(attachment.Id), Encode(attachment), OwnerOnly);
    }

    public void Delete(InstanceId id)
    {
        if (Directory.Exists(directory))
        {
            File.Delete(PathOf(id));
        }
    }

    /// <summary>All records, in the order of their uids, and the paths of files that are none.</summary>
    public (IReadOnlyList<Attachment> Attachments, IReadOnlyList<string> Unreadable) Load()
    {
        var attachments = new List<Attachment>();
        var unreadable = new List<string>();
        if (!Directory.Exists(directory))
        {
            return (attachments, unreadable);
        }

        foreach (var path in Directory.EnumerateFiles(directory).Order(StringComparer.Ordinal))
        {
            // Left by a crash before the rename: the record proper is beside it, or was never promised.
            if (path.EndsWith(WholeFile.TemporarySuffix, StringComparison.Ordinal))
            {
                File.Delete(path);
            }
            else if (new FileInfo(path).Length <= NetworkLimits.RecordFileBytes
                && Decode(File.ReadAllBytes(path)) is { } attachment && PathOf(attachment.Id) == path)
            {
                attachments.Add(attachment);
            }
            else
            {
                unreadable.Add(path);
            }
        }

        return (attachments, unreadable);
    }

    /// <summary>Removes the directory once nothing is left in it.</summary>
    public void RemoveDirectory()
    {
        if (Directory.Exists(directory) && !Directory.EnumerateFileSystemEntries(directory).Any())
        {
            Directory.Delete(directory);
        }
    }

    public static byte[] Encode(Attachment attachment)
    {
        var ports = attachment.Ports.Select(port => new PortRecord(port.Protocol, port.HostAddress.ToString(), port.HostPort, port.InstancePort));
        var answer = attachment.Answer is { } told ? new AnswerRecord(told.Hostname, [.. told.DnsServers.Select(server => server.ToString())], told.DnsSearch) : null;
        var record = new AttachmentRecord(
            attachment.Id.Value, attachment.Epoch.Value, attachment.Address.ToString(), attachment.Subnet.PrefixLength, [.. ports], attachment.Kind, answer,
            attachment.Rate);
        return JsonSerializer.SerializeToUtf8Bytes(record, NetworkJson.Default.AttachmentRecord);
    }

    /// <summary>Null for anything but a complete record.</summary>
    public static Attachment? Decode(ReadOnlySpan<byte> content)
    {
        try
        {
            return JsonSerializer.Deserialize(content, NetworkJson.Default.AttachmentRecord) is { } record ? FromRecord(record) : null;
        }
        catch (JsonException)
        {
            return null;
        }
    }

    private static Attachment? FromRecord(AttachmentRecord record)
    {
        if (!InstanceUid.IsValid(record.Uid)
            || !IPAddress.TryParse(record.Address, out var address) || address.AddressFamily != System.Net.Sockets.AddressFamily.InterNetwork
            || !Enum.IsDefined(record.Kind)
            || !record.Rate.IsValid()
            || record.PrefixLength is < Ipv4Subnet.ShortestPrefix or > Ipv4Subnet.LongestPrefix)
        {
            return null;
        }

        var ports = new List<Publication>();
        foreach (var port in record.Ports)
        {
            if (port.HostPort is < 1 or > 65535 || port.InstancePort is < 1 or > 65535 || !Enum.IsDefined(port.Protocol)
                || !IPAddress.TryParse(port.HostAddress, out var host) || host.AddressFamily != System.Net.Sockets.AddressFamily.InterNetwork)
            {
                return null;
            }

            ports.Add(new(port.Protocol, host, port.HostPort, port.InstancePort));
        }

        return new(new(record.Uid), new(record.Epoch), address, new(address.ToUInt32(), record.PrefixLength), ports)
        {
            Kind = record.Kind,
            Rate = record.Rate,
            Answer = record.Kind != ConnectionKind.Tap ? null
                : GuestAnswers.Of(record.Answer?.Hostname ?? "", record.Answer?.DnsServers ?? [], record.Answer?.DnsSearch ?? []),
        };
    }

    private string PathOf(InstanceId id) => Path.Combine(directory, id.Value + Suffix);
}

/// <param name="Kind">Not in files of agents that knew cables only.</param>
/// <param name="Rate">Not in files of agents that knew none.</param>
internal sealed record AttachmentRecord(
    string Uid,
    long Epoch,
    string Address,
    int PrefixLength,
    IReadOnlyList<PortRecord> Ports,
    ConnectionKind Kind = ConnectionKind.Namespace,
    AnswerRecord? Answer = null,
    NetworkRate Rate = default);

internal sealed record AnswerRecord(string Hostname, IReadOnlyList<string> DnsServers, IReadOnlyList<string> DnsSearch);

internal sealed record PortRecord(PortProtocol Protocol, string HostAddress, int HostPort, int InstancePort);
