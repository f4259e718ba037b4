ip -6 addr add 2001:db8:1::11/128 dev eth0 nodad
ipvsadm -A -t [2001:db8:1::10]:53 -s wrr
ipvsadm -a -t [2001:db8:1::10]:53 -r [2001:db8:2::17]:53 -g -w 1
ipvsadm -a -t [2001:db8:1::10]:53 -r [2001:db8:2::16]:53 -g -w 4
ipvsadm -A -t 192.0.2.10:80 -s rr
ipvsadm -a -t 192.0.2.10:80 -r 198.51.100.17:80 -g -w 5
ipvsadm -a -t 192.0.2.10:80 -r 198.51.100.16:80 -g -w 10
ipvsadm -a -t 192.0.2.10:80 -r 198.51.100.11:80 -g -w 1
