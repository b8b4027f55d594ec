-- What a rail accepted and could not be asked about was left alone for ten years. It is looked at now, and waits as long as its rail declares.
UPDATE batch SET available_at = clock_timestamp()
 WHERE state = 'accepted' AND available_at > clock_timestamp() + interval '1 year';
