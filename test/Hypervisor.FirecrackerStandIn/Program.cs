using Hypervisor.FirecrackerStandIn;
using Hypervisor.FirecrackerStandIn.Guests;

// A stand-in for Firecracker where it cannot run: its contract, in front of QEMU. It is no VMM, and nothing but tests may use it.
if (args is [JailerStandIn.Argument, .. var rest])
{
    return JailerStandIn.Run(rest);
}

var line = CommandLine.Parse(args);
if (line.Error is { } error)
{
    Console.Error.WriteLine($"firecracker-stand-in: {error}");
    return 153;
}

if (line.ShowVersion)
{
    Console.WriteLine($"Firecracker v{CommandLine.Version}");
    return 0;
}

#pragma warning disable RS0030 // The composition root is where the real clock comes from.
await using var guest = new QemuGuest(TimeProvider.System);
#pragma warning restore RS0030
await using var machine = new Microvm(line.Id, CommandLine.Version, guest);
try
{
    await using var server = await ApiServer.StartAsync(line.ApiSocket, machine);
    await guest.Ended;
    return 0;
}
catch (System.Net.Sockets.SocketException failure)
{
    Console.Error.WriteLine($"firecracker-stand-in: Failed to open the API socket at: {line.ApiSocket}: {failure.Message}. Check that it is not already used.");
    return 1;
}
