using System.Runtime.CompilerServices;
using System.Threading.Channels;
using Hypervisor.Protocol;
using Hypervisor.Protocol.V1;

namespace Hypervisor.Agent.Guests;

/// <summary>Several VMMs for one type: one of them starts guests, all of them are asked for what they hold.</summary>
/// <remarks>
/// What is chosen may change with what is installed and works; a guest that another one started must neither be lost nor be started twice.
/// </remarks>
/// <param name="all">Of one type; at least one.</param>
/// <param name="choose">Which starts guests from now on.</param>
internal sealed class VmmChoice(IReadOnlyList<IVmm> all, Func<IVmm> choose) : IVmm
{
    public InstanceType Type => all[0].Type;

    public string Name => choose().Name;

    public VmmAbilities Abilities => choose().Abilities;

    public int? ChannelPort => choose().ChannelPort;

    public async Task<int?> ChannelPortAsync(InstanceId id, CancellationToken cancellationToken) => (await OwnerAsync(id, cancellationToken)).ChannelPort;

    public string KernelArguments(long? tscKiloHertz) => choose().KernelArguments(tscKiloHertz);

    public Task<RuntimeInfo> ProbeAsync(CancellationToken cancellationToken) => choose().ProbeAsync(cancellationToken);

    public async Task<IReadOnlyList<VmmGuest>> ListAsync(CancellationToken cancellationToken)
    {
        var lists = await Task.WhenAll(all.Select(vmm => vmm.ListAsync(cancellationToken)));
        return [.. lists.SelectMany(list => list).GroupBy(guest => guest.Id).Select(Liveliest)];
    }

    public async Task<VmmGuest?> GetAsync(InstanceId id, CancellationToken cancellationToken)
    {
        var answers = await Task.WhenAll(all.Select(vmm => vmm.GetAsync(id, cancellationToken)));
        return answers.OfType<VmmGuest>().ToList() is { Count: > 0 } found ? Liveliest(found) : null;
    }

    public async Task StartAsync(GuestMachine machine, CancellationToken cancellationToken)
    {
        var chosen = choose();
        foreach (var other in all.Where(vmm => vmm != chosen))
        {
            if (await other.GetAsync(machine.Id, cancellationToken) is { } left)
            {
                if (left.State != VmmState.Stopped)
                {
                    return;
                }

                await other.RemoveAsync(machine.Id, cancellationToken);
            }
        }

        await chosen.StartAsync(machine, cancellationToken);
    }

    public async Task AskToPowerOffAsync(InstanceId id, CancellationToken cancellationToken) =>
        await (await OwnerAsync(id, cancellationToken)).AskToPowerOffAsync(id, cancellationToken);

    public Task KillAsync(InstanceId id, CancellationToken cancellationToken) => Task.WhenAll(all.Select(vmm => vmm.KillAsync(id, cancellationToken)));

    public async Task PauseAsync(InstanceId id, CancellationToken cancellationToken) => await (await OwnerAsync(id, cancellationToken)).PauseAsync(id, cancellationToken);

    public async Task ResumeAsync(InstanceId id, CancellationToken cancellationToken) => await (await OwnerAsync(id, cancellationToken)).ResumeAsync(id, cancellationToken);

    public async Task SaveAsync(InstanceId id, string path, CancellationToken cancellationToken) =>
        await (await OwnerAsync(id, cancellationToken)).SaveAsync(id, path, cancellationToken);

    public async Task<InstanceStats> MeasureAsync(InstanceId id, CancellationToken cancellationToken) =>
        await (await OwnerAsync(id, cancellationToken)).MeasureAsync(id, cancellationToken);

    public Task RemoveAsync(InstanceId id, CancellationToken cancellationToken) => Task.WhenAll(all.Select(vmm => vmm.RemoveAsync(id, cancellationToken)));

    /// <summary>Ends with the first that ends.</summary>
    public async IAsyncEnumerable<InstanceId> WatchAsync([EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var hints = System.Threading.Channels.Channel.CreateBounded<InstanceId>(GuestLimits.EndedGuests);
        using var stopping = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var watching = all.Select(vmm => PassOnAsync(vmm, hints.Writer, stopping.Token)).ToList();
        try
        {
            await foreach (var id in hints.Reader.ReadAllAsync(cancellationToken))
            {
                yield return id;
            }
        }
        finally
        {
            stopping.Cancel();
            await Task.WhenAll(watching).ConfigureAwait(ConfigureAwaitOptions.ContinueOnCapturedContext | ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    private static async Task PassOnAsync(IVmm vmm, ChannelWriter<InstanceId> hints, CancellationToken cancellationToken)
    {
        try
        {
            await foreach (var id in vmm.WatchAsync(cancellationToken))
            {
                await hints.WriteAsync(id, cancellationToken);
            }

            hints.TryComplete();
        }
        catch (Exception failure)
        {
            hints.TryComplete(failure);
        }
    }

    private static VmmGuest Liveliest(IEnumerable<VmmGuest> guests) => guests.MinBy(guest => guest.State == VmmState.Stopped)!;

    /// <summary>Who runs it; who would start it when nobody does.</summary>
    private async Task<IVmm> OwnerAsync(InstanceId id, CancellationToken cancellationToken)
    {
        foreach (var vmm in all)
        {
            if (await vmm.GetAsync(id, cancellationToken) is { State: not VmmState.Stopped })
            {
                return vmm;
            }
        }

        return choose();
    }
}
