using System.Globalization;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Server.Scheduling;

/// <summary>So many devices of one name.</summary>
internal readonly record struct DeviceAmount(string Name, int Count);

/// <summary>
/// Named devices, which stand beside a <see cref="ResourceAmount"/> and are no part of it: most requests and most nodes have none, and pay nothing for
/// those that do.
/// </summary>
internal readonly record struct DeviceAmounts
{
    // By name, and no count is zero. Null for none: the default.
    private readonly DeviceAmount[]? _each;

    private DeviceAmounts(IEnumerable<DeviceAmount> each)
    {
        DeviceAmount[] some = [.. each.Where(device => device.Count != 0).OrderBy(device => device.Name, StringComparer.Ordinal)];
        _each = some.Length > 0 ? some : null;
    }

    public bool IsNone => _each is null;

    /// <summary>By name. A count is below zero where more is taken than there is.</summary>
    public IReadOnlyList<DeviceAmount> Each => _each ?? [];

    /// <summary>Zero of a name that is not there.</summary>
    public int this[string name]
    {
        get
        {
            foreach (var device in _each ?? [])
            {
                if (device.Name == name)
                {
                    return device.Count;
                }
            }

            return 0;
        }
    }

    public static DeviceAmounts Of(Resources? resources) =>
        resources is { Devices.Count: > 0 } ? new(resources.Devices.Select(device => new DeviceAmount(device.Key, device.Value))) : default;

    /// <summary>Puts them beside what is there of everything else.</summary>
    public Resources AddTo(Resources resources)
    {
        foreach (var (name, count) in _each ?? [])
        {
            resources.Devices[name] = count;
        }

        return resources;
    }

    /// <summary>What is not asked for may be short.</summary>
    public bool FitsIn(DeviceAmounts free)
    {
        foreach (var (name, count) in _each ?? [])
        {
            if (count > free[name])
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>Whether some device is in both, however many.</summary>
    public bool Overlaps(DeviceAmounts other)
    {
        foreach (var device in _each ?? [])
        {
            if (other[device.Name] != 0)
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>What of these is more than another has, each by itself.</summary>
    public DeviceAmounts Beyond(DeviceAmounts other) =>
        IsNone ? default : new(Each.Select(device => device with { Count = Math.Max(0, device.Count - other[device.Name]) }));

    /// <summary>The larger of each.</summary>
    public DeviceAmounts Or(DeviceAmounts other) => Together(this, other, Math.Max);

    public bool Equals(DeviceAmounts other) => Each.SequenceEqual(other.Each);

    public override int GetHashCode()
    {
        var hash = default(HashCode);
        foreach (var device in _each ?? [])
        {
            hash.Add(device);
        }

        return hash.ToHashCode();
    }

    /// <summary>"1 gpu, 2 nic".</summary>
    public override string ToString() => string.Join(", ", Each.Select(device => string.Create(CultureInfo.InvariantCulture, $"{device.Count} {device.Name}")));

    public static DeviceAmounts operator +(DeviceAmounts left, DeviceAmounts right) => Together(left, right, static (one, other) => one + other);

    public static DeviceAmounts operator -(DeviceAmounts left, DeviceAmounts right) => Together(left, right, static (one, other) => one - other);

    private static DeviceAmounts Together(DeviceAmounts left, DeviceAmounts right, Func<int, int, int> count)
    {
        if (left.IsNone && right.IsNone)
        {
            return default;
        }

        var names = left.Each.Concat(right.Each).Select(device => device.Name).Distinct(StringComparer.Ordinal);
        return new(names.Select(name => new DeviceAmount(name, count(left[name], right[name]))));
    }
}
