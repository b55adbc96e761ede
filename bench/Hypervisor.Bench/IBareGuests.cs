namespace Hypervisor.Bench;

/// <summary>The peer of guests made through the API: the same machines with the same files, without us.</summary>
internal interface IBareGuests
{
    /// <summary>Makes what so many need before they are started.</summary>
    /// <param name="millicores">A limit that the peer has to be given; null when it has none, or has it already.</param>
    Task PrepareAsync(int count, long? millicores);

    /// <summary>Milliseconds from the first start until all have written their line.</summary>
    Task<double> FirstLinesAsync();

    /// <summary>Ends them and removes what was made for them.</summary>
    Task EndAsync();
}
