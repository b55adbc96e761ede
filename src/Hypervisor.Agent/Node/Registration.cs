using Grpc.Core;
using Hypervisor.Agent.ControlPlane;
using Hypervisor.Agent.Drivers;
using Hypervisor.Agent.Guests;
using Hypervisor.Hosting.Randomness;
using Hypervisor.Hosting.Waiting;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Node;

/// <summary>
/// Announces the machine, and announces it again when the control plane has forgotten it or a runtime came or went.
/// </summary>
internal sealed partial class Registration(
    NodeProfile profile,
    NodeState node,
    IHostFacts host,
    IReadOnlyList<IInstanceDriver> drivers,
    IAccelerators? accelerators,
    IControlPlane controlPlane,
    TimeProvider time,
    IRandomSource random,
    ILogger<Registration> logger)
{
    private static readonly InstanceType[] AllTypes = [InstanceType.Vm, InstanceType.Container, InstanceType.Microvm];

    private List<RuntimeInfo> _registered = [];
    private AcceleratorFinding? _found;
    private Task _finding = Task.CompletedTask;

    /// <summary>Returns once the control plane has taken the node; tries for as long as it takes.</summary>
    public async Task<RegisterNodeResponse> RegisterAsync(CancellationToken cancellationToken)
    {
        node.PrepareRegistration();
        await FindAcceleratorAsync(cancellationToken);
        var backoff = new Backoff(Limits.RetryMinimum, Limits.ReconnectMaximum, time, random);
        while (true)
        {
            var runtimes = await ProbeAsync(cancellationToken);
            try
            {
                var response = await controlPlane.RegisterNodeAsync(Request(runtimes), cancellationToken);
                node.Registered(response);
                (_registered, _found) = (runtimes, accelerators?.Known);
                var working = runtimes.Count(runtime => runtime.Available);
                LogRegistered(profile.Hostname, node.Id.Value, working);
                return response;
            }
            catch (RpcException failure) when (!cancellationToken.IsCancellationRequested)
            {
                if (failure.StatusCode == StatusCode.AlreadyExists)
                {
                    LogNameTaken(profile.Hostname, failure.Status.Detail);
                }
                else
                {
                    LogFailed(failure.StatusCode, failure.Status.Detail);
                }
            }

            await backoff.WaitAsync(cancellationToken);
        }
    }

    /// <summary>Registers again whenever that is asked for.</summary>
    public async Task RepeatOnRequestAsync(CancellationToken cancellationToken)
    {
        while (true)
        {
            await node.RegistrationRequestedAsync(cancellationToken);
            await RegisterAsync(cancellationToken);

            // Whoever asked has to try with what came of it before asking again.
            await Task.Delay(Limits.RetryMinimum, time, cancellationToken);
        }
    }

    /// <summary>Looks at the runtimes from time to time.</summary>
    public async Task WatchRuntimesAsync(CancellationToken cancellationToken)
    {
        while (true)
        {
            await Task.Delay(Limits.ProbeInterval, time, cancellationToken);
            await FindAcceleratorAsync(cancellationToken);
            var runtimes = await ProbeAsync(cancellationToken);
            if (!runtimes.SequenceEqual(_registered) || accelerators?.Known != _found)
            {
                node.RequestRegistration();
            }
        }
    }

    /// <summary>
    /// Not for longer than it takes where everything works: a node whose KVM hangs its guests must not be late with its first beat. What is
    /// found later is registered then.
    /// </summary>
    private async Task FindAcceleratorAsync(CancellationToken cancellationToken)
    {
        if (accelerators is null)
        {
            return;
        }

        if (_finding.IsCompleted)
        {
            _finding = FindAsync(accelerators);
        }

        using var patience = new CancellationTokenSource(GuestLimits.TrialWait, time);
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, patience.Token);
        try
        {
            await _finding.WaitAsync(linked.Token);
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            _ = RegisterAfterAsync(_finding);
        }

        async Task RegisterAfterAsync(Task finding)
        {
            await finding;
            node.RequestRegistration();
        }

        async Task FindAsync(IAccelerators of)
        {
            try
            {
                await of.FindAsync(cancellationToken);
            }
            catch (OperationCanceledException)
            {
                // The agent ends.
            }
            catch (Exception failure)
            {
                LogNotFound(failure);
            }
        }
    }

    /// <summary>All at once: the node is not registered later the more of them do not answer.</summary>
    private async Task<List<RuntimeInfo>> ProbeAsync(CancellationToken cancellationToken)
    {
        return [.. await Task.WhenAll(AllTypes.Select(OfTypeAsync))];

        async Task<RuntimeInfo> OfTypeAsync(InstanceType type)
        {
            if (!profile.Types.Contains(type))
            {
                return new RuntimeInfo { Type = type, Message = "Switched off by supported_instance_types in the agent's configuration." };
            }

            var driver = drivers.FirstOrDefault(driver => driver.Type == type);
            return driver is null ? MissingRuntimes.Without(type) : await ProbeAsync(driver, cancellationToken);
        }
    }

    private async Task<RuntimeInfo> ProbeAsync(IInstanceDriver driver, CancellationToken cancellationToken)
    {
        using var deadline = new CancellationTokenSource(Limits.ObserveDeadline, time);
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, deadline.Token);
        try
        {
            return await driver.ProbeAsync(linked.Token);
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            return new RuntimeInfo { Type = driver.Type, Driver = driver.Name, Message = $"{driver.Name} did not answer within {Limits.ObserveDeadline.TotalSeconds:0} s." };
        }
    }

    private RegisterNodeRequest Request(List<RuntimeInfo> runtimes)
    {
        var facts = host.Read();
        var identity = node.Identity;
        var request = new RegisterNodeRequest
        {
            Name = profile.Hostname,
            Credential = identity.Credential,
            RegistrationId = identity.RegistrationId,
            HighestEpoch = identity.HighestEpoch,
            HighestResourceVersion = identity.HighestResourceVersion,
            Inventory = new NodeInventory
            {
                Hostname = profile.Hostname,
                AgentAddress = profile.AgentAddress,
                Role = profile.Role,
                Region = profile.Region,
                Zone = profile.Zone,
                Capacity = facts.Capacity,
                AgentVersion = profile.AgentVersion,
                OperatingSystem = facts.OperatingSystem,
                KernelVersion = facts.KernelVersion,
                Architecture = facts.Architecture,
                BootId = facts.BootId,
                Accelerator = accelerators?.Known?.Accelerator ?? Accelerator.Unspecified,
                AcceleratorMessage = accelerators?.Known?.Message ?? "",
            },
        };
        foreach (var (name, count) in profile.Devices)
        {
            request.Inventory.Capacity.Devices[name] = count;
        }

        request.Inventory.Runtimes.AddRange(runtimes);
        foreach (var (key, value) in profile.Labels)
        {
            request.Labels.Add(key, value);
        }

        return request;
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "Registered as {Name} ({Node}) with {Working} working runtimes")]
    private partial void LogRegistered(string name, string node, int working);

    [LoggerMessage(Level = LogLevel.Error, Message = "What runs guests here could not be found out; it is tried again")]
    private partial void LogNotFound(Exception failure);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Registering failed ({Code}: {Detail}); trying again")]
    private partial void LogFailed(StatusCode code, string detail);

    [LoggerMessage(Level = LogLevel.Error, Message = "The name {Name} belongs to another node ({Detail}). Give this one another hostname, or remove the other with hypervisor-ctl node delete; trying again")]
    private partial void LogNameTaken(string name, string detail);
}
