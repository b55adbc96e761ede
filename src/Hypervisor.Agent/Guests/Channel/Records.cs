using System.Buffers;
using System.Buffers.Binary;
using System.Net.Sockets;
using System.Text;
using Hypervisor.Agent.Drivers;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Guests.Channel;

/// <summary>Writes records (tag, length, value) for the init. See docs/decisions/0009-guest-init.md.</summary>
internal sealed class Records
{
    private enum Tag : ushort
    {
        Run = 1,
        Uid,
        Hostname,
        Network,
        DnsServer,
        DnsSearch,
        Argument,
        Environment,
        Directory,
        User,
        Flags,
        Pids,
        MachineId,
        Random,
        Time,
        Size,
        BuiltIn,
        Greeted,
    }

    [Flags]
    private enum Flag : uint
    {
        None = 0,
        Terminal = 1,
        Stdin = 2,
        ReadOnlyRoot = 4,
        Hold = 8,
    }

    private readonly ArrayBufferWriter<byte> _bytes = new();

    public ReadOnlyMemory<byte> Written => _bytes.WrittenMemory;

    /// <exception cref="DriverException">ArgumentInvalid, ConfigurationTooLarge.</exception>
    public static Records Of(GuestConfig config)
    {
        var records = new Records();
        records.Add(Tag.Run, config.Run);
        records.Add(Tag.Uid, "uid", config.Uid);
        records.Add(Tag.Hostname, "process.hostname", config.Hostname);
        if (config.Address is { } address)
        {
            records.Add(address);
        }

        records.AddAll(Tag.DnsServer, "network.dns_servers", config.DnsServers);
        records.AddAll(Tag.DnsSearch, "network.dns_search", config.DnsSearch);
        records.AddAll(Tag.Argument, "process.command and process.args", config.Arguments);
        records.AddAll(Tag.Environment, "process.env", config.Environment);
        records.Add(Tag.Directory, "process.working_dir", config.WorkingDirectory);
        records.Add(Tag.User, "process.user", config.User);
        records.Add((config.Terminal ? Flag.Terminal : 0) | (config.Stdin ? Flag.Stdin : 0) | (config.ReadOnlyRoot ? Flag.ReadOnlyRoot : 0)
            | (config.HoldBeforeStart ? Flag.Hold : 0));
        records.Add(Tag.Pids, config.PidsLimit);
        records.Add(Tag.MachineId, "machine id", config.MachineId);
        return records.Checked();
    }

    /// <exception cref="DriverException">ArgumentInvalid, ConfigurationTooLarge.</exception>
    public static Records Of(ExecInput request)
    {
        var records = new Records();
        records.AddAll(Tag.Argument, "command", request.Command);
        records.AddAll(Tag.Environment, "env", request.Env.Select(variable => $"{variable.Name}={variable.Value}"));
        records.Add(Tag.Directory, "working_dir", request.WorkingDir);
        records.Add(Tag.User, "user", request.User);
        records.Add((request.Terminal ? Flag.Terminal : 0) | (request.AttachStdin ? Flag.Stdin : 0));
        if (request is { Terminal: true, Resize: { Columns: > 0, Rows: > 0 } size })
        {
            records.Add(Tag.Size, Pack(size));
        }

        return records.Checked();
    }

    /// <summary>One of the init's own programs.</summary>
    public static Records OfBuiltIn(byte number, bool stdin, params ReadOnlySpan<string> arguments)
    {
        var records = new Records();
        foreach (var argument in arguments)
        {
            records.Add(Tag.Argument, "path", argument);
        }

        records.Add(stdin ? Flag.Stdin : 0);
        records.Add(Tag.BuiltIn, [number]);
        return records.Checked();
    }

    /// <summary>For the kernel's generator; at most 256 bytes.</summary>
    public Records AddRandom(ReadOnlySpan<byte> random)
    {
        Add(Tag.Random, random);
        return this;
    }

    /// <summary>What the time is.</summary>
    public Records AddTime(DateTimeOffset now) => Add(Tag.Time, now);

    /// <summary>What the time was when the guest answered the greeting.</summary>
    public Records AddGreeted(DateTimeOffset then) => Add(Tag.Greeted, then);

    public static byte[] Pack(TerminalSize size)
    {
        var value = new byte[4];
        BinaryPrimitives.WriteUInt16LittleEndian(value, (ushort)Math.Clamp(size.Columns, 0, ushort.MaxValue));
        BinaryPrimitives.WriteUInt16LittleEndian(value.AsSpan(2), (ushort)Math.Clamp(size.Rows, 0, ushort.MaxValue));
        return value;
    }

    private Records Add(Tag tag, DateTimeOffset time)
    {
        Span<byte> value = stackalloc byte[12];
        var seconds = time.ToUnixTimeSeconds();
        BinaryPrimitives.WriteInt64LittleEndian(value, seconds);
        BinaryPrimitives.WriteUInt32LittleEndian(value[8..], (uint)((time - DateTimeOffset.FromUnixTimeSeconds(seconds)).Ticks * 100));
        Add(tag, value);
        return this;
    }

    private void Add(GuestAddress network)
    {
        if (network.Address.AddressFamily != AddressFamily.InterNetwork || network.Gateway.AddressFamily != AddressFamily.InterNetwork)
        {
            throw Invalid("network", $"guests are given IPv4 addresses, not {network.Address}");
        }

        Span<byte> value = stackalloc byte[17];
        network.Address.TryWriteBytes(value, out _);
        value[4] = (byte)network.PrefixLength;
        network.Gateway.TryWriteBytes(value[5..], out _);
        Convert.FromHexString(network.HardwareAddress.Replace(":", "", StringComparison.Ordinal)).CopyTo(value[9..15]);
        BinaryPrimitives.WriteUInt16LittleEndian(value[15..], (ushort)network.Mtu);
        Add(Tag.Network, value);
    }

    private void Add(Flag flags)
    {
        Span<byte> value = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(value, (uint)flags);
        Add(Tag.Flags, value);
    }

    private void Add(Tag tag, long number)
    {
        Span<byte> value = stackalloc byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(value, number);
        Add(tag, value);
    }

    private void AddAll(Tag tag, string field, IEnumerable<string> values)
    {
        var count = 0;
        foreach (var value in values)
        {
            if (++count > ChannelLimits.Words)
            {
                throw Invalid(field, $"at most {ChannelLimits.Words} are passed to a guest");
            }

            Add(tag, field, value, evenEmpty: true);
        }
    }

    private void Add(Tag tag, string field, string text, bool evenEmpty = false)
    {
        if (text.Contains('\0', StringComparison.Ordinal))
        {
            throw Invalid(field, "a NUL character cannot be passed to a process");
        }

        if (text.Length > 0 || evenEmpty)
        {
            Add(tag, Encoding.UTF8.GetBytes(text));
        }
    }

    private void Add(Tag tag, ReadOnlySpan<byte> value)
    {
        var span = _bytes.GetSpan(6 + value.Length);
        BinaryPrimitives.WriteUInt16LittleEndian(span, (ushort)tag);
        BinaryPrimitives.WriteInt32LittleEndian(span[2..], value.Length);
        value.CopyTo(span[6..]);
        _bytes.Advance(6 + value.Length);
    }

    /// <summary>Leaves room for randomness and time.</summary>
    private Records Checked() => _bytes.WrittenCount <= ChannelLimits.RecordsBytes - 1024
        ? this
        : throw new DriverException(
            "ConfigurationTooLarge",
            $"arguments and environment are {_bytes.WrittenCount} bytes together; at most {ChannelLimits.RecordsBytes - 1024} are passed to a guest",
            permanent: true);

    private static DriverException Invalid(string field, string why) => new("ArgumentInvalid", $"{field}: {why}", permanent: true);
}
