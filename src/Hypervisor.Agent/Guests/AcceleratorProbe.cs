using System.Text.Json;
using System.Text.Json.Serialization;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Guests.Boot;
using Hypervisor.Agent.Native;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Guests;

/// <summary>What the configuration says of accelerators.</summary>
internal enum AcceleratorChoice
{
    /// <summary>KVM where it works, else TCG where that works.</summary>
    Auto,

    /// <summary>That one or none; it is tried nevertheless.</summary>
    Kvm,
    Tcg,

    /// <summary>No guests.</summary>
    None,
}

/// <summary>Boots a tiny guest to user space, to see whether guests run here.</summary>
internal interface IGuestTrial
{
    /// <summary>Everything that the outcome depends on and that may change: the host's boot, kernel of guests, version of the VMM.</summary>
    Task<string> InputsAsync(CancellationToken cancellationToken);

    /// <returns>Null when it came to user space; else why not, as the end of a sentence.</returns>
    Task<string?> BootAsync(Accelerator accelerator, CancellationToken cancellationToken);

    /// <summary>Ends and removes the guest of an agent that was killed in the middle of a trial. Nothing when there is none.</summary>
    /// <exception cref="DriverException">ProcessUnkillable.</exception>
    Task ClearAsync(CancellationToken cancellationToken);
}

/// <summary>Finds out what runs guests on this node by running one; remembers the answer for as long as it holds.</summary>
/// <remarks>
/// That /dev/kvm can be opened proves nothing: there are hosts where a machine and a virtual CPU can be made, and no guest ever comes to
/// its first line. A node that would hang its guests must not offer KVM.
/// </remarks>
internal sealed partial class AcceleratorProbe(
    AcceleratorChoice choice, string cachePath, IGuestTrial trial, TimeProvider time, ILogger<AcceleratorProbe> log) : IAccelerators, IDisposable
{
    private readonly SemaphoreSlim _gate = new(1, 1);
    private (string Inputs, AcceleratorFinding Finding, long At)? _found;

    /// <summary>When KVM, which did not work, is tried once more; null once that was done.</summary>
    private TimeSpan? _kvmAgain;

    private bool _isCleared;

    public AcceleratorFinding? Known => _found?.Finding;

    public async Task<AcceleratorFinding> FindAsync(CancellationToken cancellationToken)
    {
        await _gate.WaitAsync(cancellationToken);
        try
        {
            await ClearAsync(cancellationToken);
            var inputs = $"{choice} {await trial.InputsAsync(cancellationToken)}";
            var earlier = _found is { } found && found.Inputs == inputs ? found : default;
            if (earlier.Finding is not null && !IsWorthAnother(earlier.Finding, time.GetElapsedTime(earlier.At)))
            {
                return earlier.Finding;
            }

            var remembered = earlier.Finding is null ? Remembered(inputs) : null;
            var finding = remembered ?? await TryAsync(cancellationToken);
            if (finding.Accelerator == Accelerator.None && earlier.Finding is { Accelerator: not Accelerator.None } worked)
            {
                // What ran a guest before runs guests: a machine that is busy with some is late with one more.
                finding = worked;
            }

            _kvmAgain = earlier.Finding is not null ? null : remembered is null ? GuestLimits.TrialInterval : GuestLimits.KvmAgain;
            _found = (inputs, finding, time.GetTimestamp());
            if (finding.Accelerator != Accelerator.None)
            {
                Remember(inputs, finding);
            }

            LogFound(finding.Accelerator, finding.Message);
            return finding;
        }
        finally
        {
            _gate.Release();
        }
    }

    public Task<long?> CounterRateAsync(CancellationToken cancellationToken) => HostTimestampCounter.MeasureKiloHertzAsync(time, cancellationToken);

    public void Dispose() => _gate.Dispose();

    /// <summary>Once, and whether or not a guest will be tried: one that an earlier agent left may spin.</summary>
    private async Task ClearAsync(CancellationToken cancellationToken)
    {
        if (_isCleared)
        {
            return;
        }

        try
        {
            await trial.ClearAsync(cancellationToken);
            _isCleared = true;
        }
        catch (Exception failure) when (failure is DriverException or IOException)
        {
            LogNotCleared(failure.Message);
        }
    }

    /// <summary>
    /// A host may have been too busy for a guest; it is tried again, for nobody else would. Where guests run without KVM it is tried once more only,
    /// since each attempt may cost a CPU for its whole time: so with each start of the agent.
    /// </summary>
    private bool IsWorthAnother(AcceleratorFinding finding, TimeSpan age) => (finding.Accelerator, choice) switch
    {
        (_, AcceleratorChoice.None) => false,
        (Accelerator.None, _) => age >= GuestLimits.TrialInterval,
        (Accelerator.Tcg, AcceleratorChoice.Auto) => age >= _kvmAgain,
        _ => false,
    };

    private async Task<AcceleratorFinding> TryAsync(CancellationToken cancellationToken)
    {
        if (choice == AcceleratorChoice.None)
        {
            return new AcceleratorFinding(Accelerator.None, "switched off by accelerator: none in the agent's configuration");
        }

        var complaints = new List<string>();
        foreach (var accelerator in (Accelerator[])(choice switch
        {
            AcceleratorChoice.Kvm => [Accelerator.Kvm],
            AcceleratorChoice.Tcg => [Accelerator.Tcg],
            _ => [Accelerator.Kvm, Accelerator.Tcg],
        }))
        {
            if (await trial.BootAsync(accelerator, cancellationToken) is not { } complaint)
            {
                return new AcceleratorFinding(accelerator, string.Join("; ", complaints));
            }

            complaints.Add($"{(accelerator == Accelerator.Kvm ? "KVM" : "software emulation")} does not work: {complaint}");
        }

        return new AcceleratorFinding(Accelerator.None, string.Join("; ", complaints));
    }

    private AcceleratorFinding? Remembered(string inputs)
    {
        try
        {
            using var file = LinuxFile.OpenRead(cachePath);
            if (file is null)
            {
                return null;
            }

            var buffer = new byte[GuestLimits.FindingBytes];
            var noted = JsonSerializer.Deserialize(buffer.AsSpan(0, RandomAccess.Read(file, buffer, 0)), AcceleratorJson.Default.NotedFinding);
            return noted?.Inputs == inputs && System.Enum.IsDefined(noted.Accelerator) ? new AcceleratorFinding(noted.Accelerator, noted.Message ?? "") : null;
        }
        catch (Exception failure) when (failure is JsonException or IOException or InvalidDataException)
        {
            // Then it is found out again.
            LogNotRead(cachePath, failure.Message);
            return null;
        }
    }

    private void Remember(string inputs, AcceleratorFinding finding)
    {
        try
        {
            var noted = new NotedFinding(inputs, finding.Accelerator, finding.Message);
            WholeFile.Write(
                cachePath, JsonSerializer.SerializeToUtf8Bytes(noted, AcceleratorJson.Default.NotedFinding), UnixFileMode.UserRead | UnixFileMode.UserWrite);
        }
        catch (IOException failure)
        {
            // A full disk: it costs the next start some seconds.
            LogNotWritten(cachePath, failure.Message);
        }
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "Guests run with {Accelerator} here {Detail}")]
    private partial void LogFound(Accelerator accelerator, string detail);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The guest of an earlier trial cannot be ended ({Reason}); it is tried again")]
    private partial void LogNotCleared(string reason);

    [LoggerMessage(Level = LogLevel.Warning, Message = "{Path} cannot be read ({Reason}); what runs guests is found out again")]
    private partial void LogNotRead(string path, string reason);

    [LoggerMessage(Level = LogLevel.Warning, Message = "{Path} cannot be written ({Reason}); what runs guests will be found out again")]
    private partial void LogNotWritten(string path, string reason);
}

internal sealed record NotedFinding(string? Inputs, Accelerator Accelerator, string? Message);

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase)]
[JsonSerializable(typeof(NotedFinding))]
internal sealed partial class AcceleratorJson : JsonSerializerContext;
