using System.Text.Json.Nodes;

namespace Hypervisor.FirecrackerStandIn.Guests;

/// <summary>A guest that does nothing, for tests of the contract.</summary>
internal sealed class NoGuest : IGuest
{
    public Task Ended { get; } = new TaskCompletionSource().Task;

    public Task StartAsync(JsonObject configuration) => Task.CompletedTask;

    public Task LoadAsync(JsonObject configuration, string memoryPath, long streamBytes) => Task.CompletedTask;

    public Task PauseAsync() => Task.CompletedTask;

    public Task ResumeAsync() => Task.CompletedTask;

    public async Task<long> SaveAsync(string memoryPath)
    {
        await File.WriteAllBytesAsync(memoryPath, [1, 2, 3, 4]);
        return 4;
    }

    public Task PressCtrlAltDelAsync() => Task.CompletedTask;

    public Task ReplaceDriveAsync(string id, string path) => Task.CompletedTask;

    public Task SetBalloonAsync(long mebibytes, long memoryMebibytes) => Task.CompletedTask;

    public Task<Stream?> ConnectAsync(int port) => Task.FromResult<Stream?>(null);

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;
}
