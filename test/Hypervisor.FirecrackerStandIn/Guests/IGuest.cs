using System.Text.Json.Nodes;

namespace Hypervisor.FirecrackerStandIn.Guests;

/// <summary>What runs once the machine has been configured: QEMU, or nothing in tests of the contract alone.</summary>
internal interface IGuest : IAsyncDisposable
{
    /// <summary>Ends when the guest does.</summary>
    Task Ended { get; }

    /// <param name="configuration">As GET /vm/config shows it.</param>
    Task StartAsync(JsonObject configuration);

    /// <summary>Leaves it paused.</summary>
    Task LoadAsync(JsonObject configuration, string memoryPath, long streamBytes);

    Task PauseAsync();

    Task ResumeAsync();

    /// <returns>How many bytes of the file are of the guest.</returns>
    Task<long> SaveAsync(string memoryPath);

    Task PressCtrlAltDelAsync();

    Task ReplaceDriveAsync(string id, string path);

    Task SetBalloonAsync(long mebibytes, long memoryMebibytes);

    /// <summary>A stream to the guest's end of a vsock port, or null when nothing listens there.</summary>
    Task<Stream?> ConnectAsync(int port);
}
